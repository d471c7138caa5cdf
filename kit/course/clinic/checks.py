"""The checks of the exercise ``clinic``: the judgement of ``layout`` and ``training``."""

from kit.course.shared import compiled_model, layout_judgement
from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.layout_judgement import LayoutCall, judge_layout, observe_layout_maps
from kit.judge.observation import Outcome
from kit.judge.submission import Submission
from kit.models.architectures import GEMMA_2B, GEMMA_7B


def observe_memory(submission: Submission) -> list[LayoutCall]:
    """The first function's layout map for each mesh."""
    return observe_layout_maps(submission, "too_much_on_each_core")


def judge_tensor_parallelism(calls: list[LayoutCall]) -> None:
    """A small Gemma, Gemma 7B and a model with LoRA are sharded by tensor parallelism."""
    for model, config, rank in (
        ("a small Gemma of 2 layers", oracle.small_config(), 0),
        ("Gemma 7B", GEMMA_7B, 0),
        ("a small Gemma with LoRA", oracle.small_config(), 4),
    ):
        judge_layout(calls, model, config, rank)


# Three checks compare with the same oracle.
judge_memory = judge_tensor_parallelism
judge_dimensions = judge_tensor_parallelism
judge_rules = judge_tensor_parallelism


def observe_layout_maps_with_twice_the_collectives(submission: Submission) -> list[LayoutCall]:
    """The second function's layout map for each mesh."""
    return observe_layout_maps(submission, "twice_the_collectives")


# Two checks judge the same observation.
observe_dimensions = observe_layout_maps_with_twice_the_collectives
observe_collectives = observe_layout_maps_with_twice_the_collectives


def judge_collectives(calls: list[LayoutCall]) -> None:
    """The compiled gradients of a small Gemma send no more bytes than with tensor parallelism."""
    layout_judgement.judge_collectives(calls)


def observe_rules(submission: Submission) -> list[LayoutCall]:
    """The third function's layout map for each mesh."""
    return observe_layout_maps(submission, "nothing_is_split")


def observe_one_head(submission: Submission) -> list[LayoutCall]:
    """The fourth function's layout map for each mesh."""
    return observe_layout_maps(submission, "one_head_on_eight_cores")


def judge_one_head(calls: list[LayoutCall]) -> None:
    """With one key and value head, only key and value are replicated."""
    for model, config, rank in (
        ("Gemma 2B", GEMMA_2B, 0),
        ("Gemma 2B with LoRA", GEMMA_2B, 4),
        ("a small Gemma with one key and value head", oracle.small_config(num_key_value_heads=1), 0),
    ):
        judge_layout(calls, model, config, rank)


def observe_moments(submission: Submission) -> Outcome[compiled_model.OptimizerSeen]:
    """The optimizer that the fifth function compiles a small model with."""
    return compiled_model.observe_optimizer(submission, "moments_on_every_core")


def judge_moments(outcome: Outcome[compiled_model.OptimizerSeen]) -> None:
    """The optimizer is the one asked for, and its state is sharded like the variables."""
    compiled_model.judge_optimizer(outcome)


def observe_loss(submission: Submission) -> Outcome[compiled_model.LossSeen]:
    """The loss and the metrics that the fifth function compiles a small model with."""
    return compiled_model.observe_loss(submission, "moments_on_every_core")


def judge_loss(outcome: Outcome[compiled_model.LossSeen]) -> None:
    """Loss and accuracy are those of the next token, without padding."""
    compiled_model.judge_loss(outcome)
