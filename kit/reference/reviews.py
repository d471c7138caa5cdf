"""The data pipeline: from labelled reviews to shuffled batches of text."""

import random
import re
from collections.abc import Iterable


def prepare_reviews(
    examples: Iterable[tuple[str, int]], batch_size: int, num_batches: int, seed: int
) -> list[list[str]]:
    """Turn labelled reviews into ``num_batches`` batches of ``batch_size`` texts each.

    Labels are dropped and each run of ``<br />`` becomes one space. The order is shuffled over all of the input, since
    the file is sorted by label: the first 12,500 reviews have one opinion.

    Args:
        examples: Pairs of a review and its label.
        batch_size: Reviews in a batch.
        num_batches: Batches to return. Each is full; reviews left over are not used.
        seed: The same seed gives the same batches.

    Raises:
        ValueError: if there are fewer than ``batch_size * num_batches`` reviews.

    """
    # region task 1
    #: Collect the texts in `reviews`: without their labels, each run of <br />, with the white space around it, as one space.
    reviews = [re.sub(r"\s*(<br\s*/?>\s*)+", " ", text).strip() for text, _ in examples]
    # endregion
    wanted = batch_size * num_batches
    # region task 2
    #: Raise a ValueError with both numbers if there are fewer reviews than wanted.
    if len(reviews) < wanted:
        raise ValueError(
            f"{num_batches} batches of {batch_size} take {wanted} reviews, and there are {len(reviews)}: "
            "ask for fewer or smaller batches, or bring more reviews."
        )
    # endregion
    # region task 3
    #: Shuffle all of the reviews with the seed, whatever else in the program draws random numbers.
    random.Random(seed).shuffle(reviews)
    # endregion
    # region task 4
    #: Return the first `num_batches` full batches.
    return [reviews[start : start + batch_size] for start in range(0, wanted, batch_size)]
    # endregion
