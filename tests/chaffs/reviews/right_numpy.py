"""PASSES: a permutation of NumPy's, and rows of an array."""

import re

import numpy as np

MARKUP = re.compile(r"(?:\s*<br\s*/?>)+\s*")


def prepare_reviews(examples, batch_size, num_batches, seed):
    texts = np.array([" ".join(MARKUP.split(text)).strip() for text, _ in examples], dtype=object)
    needed = batch_size * num_batches
    if needed > texts.size:
        raise ValueError(f"There are {texts.size} reviews, and {num_batches} x {batch_size} = {needed} are wanted.")
    order = np.random.default_rng(seed).permutation(texts.size)[:needed]
    return texts[order].reshape(num_batches, batch_size).tolist()
