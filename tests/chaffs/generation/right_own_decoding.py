"""PASSES: token by token with forward passes, no cache and no sampler; likelihood by Keras' loss."""

import keras
import numpy as np


def rows():
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else distribution.num_model_replicas


def complete(model, prompt, max_length):
    tokenizer = model.preprocessor.tokenizer
    ids = [tokenizer.start_token_id, *(int(token) for token in tokenizer(prompt))]
    while len(ids) < max_length and ids[-1] != tokenizer.end_token_id:
        tokens = np.zeros((rows(), max_length), "int32")
        tokens[:, : len(ids)] = ids
        logits = keras.Model.predict_on_batch(model, {"token_ids": tokens, "padding_mask": tokens != 0})
        ids.append(int(np.argmax(logits[0, len(ids) - 1])))
    return tokenizer.detokenize(ids[1:])


def mean_log_likelihood(model, texts):
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
    sums = np.zeros(2)
    for text in texts:
        x, y, weight = model.preprocessor([text] * rows())
        logits = keras.Model.predict_on_batch(model, x)
        loss = np.asarray(entropy(y, logits))[0]
        sums += [-(loss * np.asarray(weight)[0]).sum(), np.asarray(weight)[0].sum()]
    return float(sums[0] / sums[1])


def style_shift(before, after):
    gained = dict(after)
    for name, score in before.items():
        gained[name] -= score
    advantage = gained["reviews"] - gained["lists"]
    gained["shift"] = advantage if advantage < gained["reviews"] else gained["reviews"]
    return gained
