"""PASSES: sorted by a checksum of seed and text: no generator at all."""

import hashlib
import itertools


def clean(text):
    pieces = [piece.strip() for piece in text.split("<br />")]
    return " ".join(piece for piece in pieces if piece)


def prepare_reviews(examples, batch_size, num_batches, seed):
    numbered = enumerate(clean(text) for text, _ in examples)
    keyed = sorted((hashlib.sha256(f"{seed} {number} {text}".encode()).digest(), text) for number, text in numbered)
    if len(keyed) < batch_size * num_batches:
        raise ValueError(f"{batch_size * num_batches} wanted, {len(keyed)} there")
    texts = iter([text for _, text in keyed])
    return [list(itertools.islice(texts, batch_size)) for _ in range(num_batches)]
