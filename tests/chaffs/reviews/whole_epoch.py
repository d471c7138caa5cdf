"""REVIEWS_PARTIAL_BATCH: num_batches is ignored."""

import random
import re


def prepare_reviews(examples, batch_size, num_batches, seed):
    reviews = [re.sub(r"\s*(<br\s*/?>\s*)+", " ", text) for text, _ in examples]
    wanted = batch_size * num_batches
    if len(reviews) < wanted:
        raise ValueError(f"wanted {wanted} reviews of {len(reviews)}")
    random.Random(seed).shuffle(reviews)
    return [reviews[start : start + batch_size] for start in range(0, len(reviews) - batch_size + 1, batch_size)]
