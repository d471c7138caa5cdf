"""The data pipeline: labelled reviews become shuffled batches of text."""

import itertools
import re
from collections.abc import Iterable

import numpy as np


def prepare_reviews(
    examples: Iterable[tuple[str, int]], batch_size: int, num_batches: int, seed: int
) -> list[list[str]]:
    """Turn labelled reviews into ``num_batches`` batches of ``batch_size`` texts each.

    Labels are dropped, and each run of ``<br />`` becomes one space. All of the input is shuffled,
    because the file is sorted by label: the first 12,500 reviews all have the same label.

    Args:
        examples: Pairs of a review and its label. It can be any iterable, also one that can be read
            only once, and is not changed.
        batch_size: Number of reviews in a batch.
        num_batches: Number of batches. All of them are full; remaining reviews are not used.
        seed: At least 0. The same seed gives the same batches, in each process.

    Raises:
        ValueError: if there are fewer than ``batch_size * num_batches`` reviews.

    """
    marks = re.compile(r"\s*<br />(?:\s*<br />)*\s*")
    reviews: list[str] = []
    for text, _ in examples:
        reviews.append(marks.sub(" ", text))
    wanted = batch_size * num_batches
    if wanted > len(reviews):
        message = "The run takes {} reviews, but only {} are available."
        raise ValueError(message.format(wanted, len(reviews)))
    order = iter(np.random.default_rng(seed).permutation(len(reviews)).tolist())
    return [[reviews[index] for index in itertools.islice(order, batch_size)] for _ in range(num_batches)]
