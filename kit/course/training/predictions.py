"""Questions about the loss, and their measurements. Imports no framework."""

from kit.course.predictions import Question


def measure_loss() -> float:
    """The loss that Keras reports for four positions, of which two are padding."""
    import keras
    import numpy as np

    y, logits, weight = np.array([[0, 5, 0, 0]]), np.zeros((1, 4, 8), np.float32), np.array([[1, 1, 0, 0]])
    return float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, logits, weight))


def measure_accuracy() -> float:
    """The weighted accuracy that Keras reports for them."""
    import keras
    import numpy as np

    metric = keras.metrics.SparseCategoricalAccuracy()
    # Equal logits: the model predicts token 0 everywhere.
    metric.update_state(np.array([[0, 5, 0, 0]]), np.zeros((1, 4, 8)), sample_weight=np.array([[1, 1, 0, 0]]))
    return float(metric.result())


QUESTIONS = (
    Question(
        "loss",
        "A model gives each of 8 tokens the same probability, so each next token costs ln 8 = 2.0794. A text has four "
        "positions. Two are padding and have the weight 0. Which loss does Keras report?",
        measure_loss,
        "Keras adds up the weighted losses and divides by the number of positions, padding included: "
        "2 x 2.0794 / 4. A loss falls when texts are shorter than the sequence length.",
        within=0.002,
        mistakes={
            "2.0794": "You divided by the two real tokens.",
            "4.1589": "That is the sum; Keras reports a mean.",
        },
    ),
    Question(
        "accuracy",
        "And which accuracy does it report, if the model predicts one of the two real tokens correctly? Give a number "
        "from 0 to 1.",
        measure_accuracy,
        "A weighted metric divides by the sum of the weights, so padding does not count. The loss divides by the "
        "number of positions.",
        within=0.001,
        mistakes={
            "0.25": "You divided by all four positions, as the loss does.",
            "0.75": "You counted padding as right.",
        },
    ),
)
