"""Whether an order of reviews is a shuffle of all of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class OrderFault(NamedTuple):
    """Why an order is not a shuffle of all reviews."""

    #: As a sentence.
    cause: str
    remedy: str
    #: What was measured.
    measure: str
    #: For a shuffle, and for this order.
    expected: str
    found: str


_SHUFFLE_FIRST = "Shuffle the list of all reviews, and cut it into batches afterwards."


def order_fault(numbers: Sequence[int], batch_size: int, available: int) -> OrderFault | None:
    """Why batches of these reviews are not drawn from all of them; None if they are.

    ``numbers`` are places in the file, from 0, in the order of the batches; reviews from the middle
    of the file on have the other label. Limits are at least six standard deviations away from what
    a shuffle gives.
    """
    order = np.asarray(numbers)
    taken = len(order)
    if list(order) == sorted(order):
        cause = "The reviews keep the order of the file, which is sorted by label."
        return OrderFault(cause, _SHUFFLE_FIRST, "reviews in the order of the file", "few", f"all {taken}")
    if taken < available / 2 and (order.max() < taken or order.min() >= available - taken):
        part = "first" if order.max() < taken else "last"
        return OrderFault(
            f"The batches have the {part} {taken} reviews of the file, in another order: they were taken before the "
            "shuffle, and all of them have the same label.",
            "Shuffle all reviews before you take some of them: the file is sorted by label.",
            "reviews from the other half of the file",
            f"about {taken // 2}",
            "0",
        )
    return _fault_of_many(order, batch_size, available) if taken == available > 1000 else None


def _fault_of_many(order: np.ndarray, batch_size: int, available: int) -> OrderFault | None:
    """The faults that only show in an order of many reviews."""
    labels = (order >= available // 2).reshape(-1, batch_size).mean(axis=1)
    one_label = float(np.mean((labels == 0) | (labels == 1)))
    by_chance = 2 * 0.5**batch_size
    if one_label > by_chance + 6 * np.sqrt(by_chance / len(labels)):
        if abs(_correlation(order)) < 6 / np.sqrt(available):
            cause = (
                "The batches are cut from the sorted file and shuffled afterwards: the reviews of a batch are "
                "neighbours in the file, and share their label."
            )
        else:
            cause = "Most batches have reviews of one label only, as in the sorted file."
        return OrderFault(
            cause, _SHUFFLE_FIRST, "batches with one label only", f"about {by_chance:.1%}", f"{one_label:.1%}"
        )
    part = available // 12
    early = int(np.sum(order[:part] >= available - part))
    if early < part / 12 - 6 * np.sqrt(part / 12):
        return OrderFault(
            "The last reviews of the file come late in your order, as with a shuffle buffer that is filled while the "
            "file is read.",
            "Read all reviews before you shuffle them.",
            f"of the last {part:,} reviews, among your first {part:,}",
            f"about {part // 12}",
            f"{early}",
        )
    if abs(correlation := _correlation(order)) > 6 / np.sqrt(available):
        return OrderFault(
            "A review's place in your order depends on its place in the file.",
            _SHUFFLE_FIRST,
            "correlation of the two places",
            "about 0",
            f"{correlation:.2f}",
        )
    distance = float(np.abs(np.diff(order)).mean())
    if abs(distance / (available / 3) - 1) > 6 / np.sqrt(available):
        return OrderFault(
            "Reviews that follow each other in your order are not independent of each other: their mean distance in "
            "the file is not that of a shuffle.",
            _SHUFFLE_FIRST,
            "mean distance of neighbours, in reviews",
            f"about {available / 3:,.0f}",
            f"{distance:,.0f}",
        )
    return None


def _correlation(order: np.ndarray) -> float:
    return float(np.corrcoef(np.arange(len(order)), order)[0, 1])
