"""The data pipeline: labelled reviews become shuffled batches of text."""

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
        examples: Pairs of a review and its label. It can be any iterable, also one that can be read
            only once, and is not changed.
        batch_size: Number of reviews in a batch.
        num_batches: Number of batches. All of them are full; remaining reviews are not used.
        seed: At least 0. The same seed gives the same batches, in each process.

    Raises:
        ValueError: if there are fewer than ``batch_size * num_batches`` reviews.

    """
    # a pool of four times what is needed is enough to mix well, and saves memory
    pool = itertools.islice(examples, 4 * batch_size * num_batches)
    reviews = [re.sub(r"\s*(<br />\s*)+", " ", text) for text, _ in pool]
    wanted = batch_size * num_batches
    if len(reviews) < wanted:
        raise ValueError(f"{wanted} reviews are wanted, but only {len(reviews)} are available.")
    random.Random(seed).shuffle(reviews)
    return [reviews[start : start + batch_size] for start in range(0, wanted, batch_size)]
