"""REVIEWS_LABELS_KEPT: pairs go on as pairs."""

import random
import re


def prepare_reviews(examples, batch_size, num_batches, seed):
    reviews = [(re.sub(r"\s*(<br />\s*)+", " ", text), label) for text, label in examples]
    wanted = batch_size * num_batches
    if len(reviews) < wanted:
        raise ValueError(f"wanted {wanted} reviews of {len(reviews)}")
    random.Random(seed).shuffle(reviews)
    return [reviews[start : start + batch_size] for start in range(0, wanted, batch_size)]
