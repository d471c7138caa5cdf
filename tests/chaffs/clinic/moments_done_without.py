"""NOT_AS_EXPECTED: an optimizer that has no moments."""

import keras

from kit.reference.clinic import nothing_is_split, one_head_on_eight_cores, too_much_on_each_core, twice_the_collectives  # noqa: F401


def moments_on_every_core(model, learning_rate, weight_decay):
    sgd = keras.optimizers.SGD(learning_rate, weight_decay=weight_decay)
    sgd.exclude_from_weight_decay(var_names=["scale", "bias"])
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    model.compile(sgd, loss=crossentropy, weighted_metrics=[accuracy])
