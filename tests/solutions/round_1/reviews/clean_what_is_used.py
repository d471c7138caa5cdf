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
        examples: Pairs of a review and its label.
        batch_size: Number of reviews in a batch.
        num_batches: Number of batches. All of them are full; remaining reviews are not used.
        seed: The same seed gives the same batches.

    Raises:
        ValueError: if there are fewer than ``batch_size * num_batches`` reviews.

    """
    # Cleaning takes time and most texts are not used: shuffle first, and clean only what is returned.
    reviews = examples if isinstance(examples, list) else list(examples)
    wanted = batch_size * num_batches
    if len(reviews) < wanted:
        raise ValueError(f"{wanted} reviews are wanted, but only {len(reviews)} are available.")
    random.Random(seed).shuffle(reviews)
    markup = re.compile(r"\s*(?:<br />\s*)+")
    texts = [markup.sub(" ", text) for text, _ in reviews[:wanted]]
    return [texts[number * batch_size : (number + 1) * batch_size] for number in range(num_batches)]
