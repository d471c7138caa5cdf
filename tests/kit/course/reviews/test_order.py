"""Shuffles of all reviews pass, and other orders get their cause."""

import random

import pytest

from kit.course.reviews.checks import MANY
from kit.course.reviews.order import order_fault


@pytest.mark.parametrize("seed", range(20))
def test_a_shuffle_has_no_fault(seed: int) -> None:
    order = list(range(MANY))
    random.Random(seed).shuffle(order)
    assert order_fault(order, 8, MANY) is None
    few = random.Random(seed).sample(range(60), 20)
    assert order_fault(few, 2, 60) is None


@pytest.mark.parametrize("size", [10, 1000, 10_000])
def test_a_buffer_is_found(size: int) -> None:
    generator = random.Random(0)
    buffer, order = list(range(size)), []
    for number in range(size, MANY):
        place = generator.randrange(size)
        order.append(buffer[place])
        buffer[place] = number
    fault = order_fault(order + generator.sample(buffer, size), 8, MANY)
    assert fault is not None
    assert ("buffer" in fault.cause) == (size == 10_000), "a small buffer does not mix the labels"


def test_what_was_taken_first_is_found() -> None:
    fault = order_fault(random.Random(0).sample(range(20), 20), 2, 60)
    assert fault is not None
    assert "the first 20 reviews of the file" in fault.cause
