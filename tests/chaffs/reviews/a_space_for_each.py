"""REVIEWS_MARKUP_LEFT: a space for each tag and not for each run."""

import random
import re


def prepare_reviews(examples, batch_size, num_batches, seed):
    reviews = [text.replace("<br />", " ") for text, _ in examples]
    wanted = batch_size * num_batches
    if len(reviews) < wanted:
        raise ValueError(f"wanted {wanted} reviews of {len(reviews)}")
    random.Random(seed).shuffle(reviews)
    return [reviews[start : start + batch_size] for start in range(0, wanted, batch_size)]
