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
            only once, and is not changed. A text that it has twice counts as two reviews.
        batch_size: Number of reviews in a batch.
        num_batches: Number of batches. All of them are full; remaining reviews are not used.
        seed: At least 0. The same seed gives the same batches, in each process.

    Raises:
        ValueError: if there are fewer than ``batch_size * num_batches`` reviews.

    """
    # Task 1: Collect the texts in `reviews`, without labels. Replace each run of <br />, together
    # with the white space around it, by one space. You may strip the ends of a text.
    reviews = [re.sub(r"(?:<br />|\s)+", " ", text) for text, _ in examples]
    wanted = batch_size * num_batches
    # Task 2: Raise a ValueError that names both numbers if there are fewer reviews than wanted.
    if len(reviews) < wanted:
        raise ValueError(f"{wanted} reviews are wanted, and only {len(reviews)} are available.")
    # Task 3: Shuffle all reviews with the seed. The order must not depend on random numbers that
    # other code draws, and your code must not change those.
    random.Random(seed).shuffle(reviews)
    # Task 4: Return the first `num_batches` full batches.
    return [reviews[number * batch_size : (number + 1) * batch_size] for number in range(num_batches)]
