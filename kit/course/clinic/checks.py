"""The checks of the exercise ``clinic``: the judgement of ``layout`` and ``training``."""

from functools import partial

from kit.course.shared import compiled_model, layout_judgement
from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.layout_judgement import LayoutCall, judge_layout, observe_layout_maps
from kit.models.architectures import GEMMA_2B, GEMMA_7B

# The layout map of each function, for each mesh.
observe_memory = partial(observe_layout_maps, function="too_much_on_each_core")
observe_dimensions = partial(observe_layout_maps, function="twice_the_collectives")
observe_collectives = observe_dimensions
observe_rules = partial(observe_layout_maps, function="nothing_is_split")
observe_one_head = partial(observe_layout_maps, function="one_head_on_eight_cores")
# What the last function compiles a small model with.
observe_moments = partial(compiled_model.observe_optimizer, function="moments_on_every_core")
observe_loss = partial(compiled_model.observe_loss, function="moments_on_every_core")

judge_collectives = layout_judgement.judge_collectives
judge_moments, judge_loss = compiled_model.judge_optimizer, compiled_model.judge_loss


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


def judge_one_head(calls: list[LayoutCall]) -> None:
    """With one key and value head, only key and value are replicated."""
    for model, config, rank in (
        ("Gemma 2B", GEMMA_2B, 0),
        ("Gemma 2B with LoRA", GEMMA_2B, 4),
        ("a small Gemma with one key and value head", oracle.small_config(num_key_value_heads=1), 0),
    ):
        judge_layout(calls, model, config, rank)
