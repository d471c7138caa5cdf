"""The data pipeline: labelled reviews become shuffled batches of text."""

import hashlib
import itertools
import random
import re
from collections.abc import Iterable


def prepare_reviews(
    examples: Iterable[tuple[str, int]], batch_size: int, num_batches: int, seed: int
) -> list[list[str]]:
    """Turn labelled reviews into ``num_batches`` batches of ``batch_size`` texts each.

    Labels are dropped, and each run of ``<br />`` becomes one space. All of the input is shuffled,
    because the file is sorted by label: the first 12,500 reviews all have the same label.

    Args:
        examples: Pairs of a review and its label.
        batch_size: Number of reviews in a batch.
        num_batches: Number of batches. All of them are full; remaining reviews are not used.
        seed: The same seed gives the same batches.

    Raises:
        ValueError: if there are fewer than ``batch_size * num_batches`` reviews.

    """
    separator = re.compile(r"\s*<br />(?:\s*<br />)*\s*")
    reviews = [" ".join(separator.split(example[0])) for example in examples]
    wanted = batch_size * num_batches
    available = len(reviews)
    if available < wanted:
        raise ValueError(f"There are {available} reviews, and {num_batches} batches of {batch_size} take {wanted}.")
    def place(index: int) -> bytes:
        return hashlib.sha256(f"{seed}/{index}".encode()).digest()

    order = iter(sorted(range(available), key=place))
    return [[reviews[index] for index in itertools.islice(order, batch_size)] for _ in range(num_batches)]
