"""PASSES: a beam of one and compile, whose effects are taken back; likelihood by score-like gathering in JAX."""

import contextlib

import jax
import jax.numpy as jnp
import keras
import keras_hub

FIELDS = ("sampler", "generate_function")


@contextlib.contextmanager
def greedily(model):
    kept = {name: getattr(model, name) for name in FIELDS}
    model.generate_function = None
    model.sampler = keras_hub.samplers.BeamSampler(num_beams=1)
    try:
        yield model
    finally:
        for name, value in kept.items():
            setattr(model, name, value)


def complete(model, prompt, max_length):
    mesh = keras.distribution.distribution().device_mesh
    with greedily(model):
        texts = model.generate(mesh.shape[0] * [prompt], max_length=max_length)
    assert len(set(texts)) == 1
    return texts.pop()


def mean_log_likelihood(model, texts):
    mesh = keras.distribution.distribution().device_mesh
    fillers = -len(texts) % mesh.shape[0]
    padded = list(texts) + [texts[-1]] * fillers
    _, y, weight = model.preprocessor(padded)
    weight = jnp.asarray(weight, "float32").at[len(texts) :].set(0)
    logits = jnp.asarray(model.predict_on_batch(padded))
    scores = jax.vmap(jax.vmap(lambda row, token: jax.nn.log_softmax(row)[token]))(logits, jnp.asarray(y))
    return float(jnp.sum(scores * weight) / jnp.sum(weight))


def style_shift(before, after):
    reviews, lists = (after[name] - before[name] for name in ("reviews", "lists"))
    return {"reviews": reviews, "lists": lists, "shift": min((reviews, reviews - lists))}
