"""REVIEWS_TOO_FEW_ACCEPTED: fewer batches than asked for, in silence."""

import random
import re


def prepare_reviews(examples, batch_size, num_batches, seed):
    reviews = [re.sub(r"\s*(<br\s*/?>\s*)+", " ", text) for text, _ in examples]
    wanted = batch_size * num_batches
    random.Random(seed).shuffle(reviews)
    return [reviews[start : start + batch_size] for start in range(0, wanted, batch_size)]
