"""The data pipeline: labelled reviews become shuffled batches of text."""

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
        examples: Pairs of a review and its label. It can be any iterable, also one that can be read
            only once, and is not changed.
        batch_size: Number of reviews in a batch.
        num_batches: Number of batches. All of them are full; remaining reviews are not used.
        seed: At least 0. The same seed gives the same batches, in each process.

    Raises:
        ValueError: if there are fewer than ``batch_size * num_batches`` reviews.

    """
    mark = re.compile(r"\s*<br />(?:\s*<br />)*\s*")
    reviews = []
    for example in examples:
        reviews.append(" ".join(mark.split(example[0])))
    wanted = batch_size * num_batches
    missing = wanted - len(reviews)
    if missing > 0:
        raise ValueError(f"There are {len(reviews)} reviews, {missing} fewer than the {wanted} that are wanted.")
    generator = random.Random(seed)
    order = sorted((generator.random(), index) for index in range(len(reviews)))
    chosen = iter([reviews[index] for _, index in order])
    return [[next(chosen) for _ in range(batch_size)] for _ in range(num_batches)]
