"""NOT_AS_EXPECTED, REVIEWS_NOT_SHUFFLED: some reviews twice, others never."""

import random
import re


def prepare_reviews(examples, batch_size, num_batches, seed):
    reviews = [re.sub(r"\s*(<br\s*/?>\s*)+", " ", text) for text, _ in examples]
    wanted = batch_size * num_batches
    if len(reviews) < wanted:
        raise ValueError(f"wanted {wanted} reviews of {len(reviews)}")
    reviews = random.Random(seed).choices(reviews, k=len(reviews))
    return [reviews[start : start + batch_size] for start in range(0, wanted, batch_size)]
