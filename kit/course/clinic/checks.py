"""Checks of the exercise ``clinic``: the judgement of ``layout`` and ``training``, on layouts that were ill."""

from kit.course.layout import checks as layout
from kit.course.shared import tensor_parallel as oracle
from kit.course.training import checks as training
from kit.judge.submission import Submission
from kit.models.architectures import GEMMA_2B, GEMMA_7B


def memory(submission: Submission) -> None:
    """No matrix is held whole, on a small model and on Gemma 7B, and no adapter is caught."""
    _look_at_gemma(submission, "too_much_on_each_core")


def dimensions(submission: Submission) -> None:
    """Every matrix is split along the dimension that costs least."""
    _look_at_gemma(submission, "twice_the_collectives")


def collectives(submission: Submission) -> None:
    """The compiled gradients send no more bytes than tensor parallelism needs."""
    layout.look_at_collectives(submission, "twice_the_collectives")


def rules(submission: Submission) -> None:
    """Every rule matches something in the Keras of today, and what it is to match."""
    _look_at_gemma(submission, "nothing_is_split")


def one_head(submission: Submission) -> None:
    """On Gemma 2B and on a small model with one key and value head, no axis is left that does not divide its dimension."""
    small = oracle.small_config(num_key_value_heads=1)
    for what, config, rank in (
        ("Gemma 2B", GEMMA_2B, 0),
        ("Gemma 2B with LoRA", GEMMA_2B, 4),
        ("a small Gemma with one key and value head", small, 0),
    ):
        layout.look_at(submission, what, config, rank, "one_head_on_eight_cores")


def moments(submission: Submission) -> None:
    """The optimizer is as it was, and its moments lie where their variable lies."""
    training.look_at_optimizer(submission, "moments_on_every_core")


def loss(submission: Submission) -> None:
    """Loss and accuracy are what they were before."""
    training.look_at_loss(submission, "moments_on_every_core")


def _look_at_gemma(submission: Submission, function: str) -> None:
    for what, config, rank in (
        ("a small Gemma of 2 layers", oracle.small_config(), 0),
        ("Gemma 7B", GEMMA_7B, 0),
        ("a small Gemma with LoRA", oracle.small_config(), 4),
    ):
        layout.look_at(submission, what, config, rank, function)
