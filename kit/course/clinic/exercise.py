"""The exercise ``clinic`` as data: its checks, its codes and its hints. Imports no framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from kit.judge.catalogue import Exercise

if TYPE_CHECKING:
    import jax
    import keras


class ClinicExercise(Protocol):
    """The functions to write."""

    def deciding_rules(self, layout_map: keras.distribution.LayoutMap, paths: Sequence[str]) -> dict[str, list[str]]:
        """Return the rules that Keras finds for each path of a variable."""

    def diagnose_layout(
        self, layout_map: keras.distribution.LayoutMap, shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, list[str]]:
        """Return what is wrong with a layout map for a model, and the names that show it."""

    def diagnose_moments(
        self, trained: Mapping[str, jax.Array], moments: Mapping[str, Sequence[jax.Array]]
    ) -> dict[str, list[str]]:
        """Return what is wrong with the moments of an optimizer, and the paths that show it."""

    def prescribe(
        self, device_mesh: keras.distribution.DeviceMesh, architecture: Mapping[str, Any]
    ) -> keras.distribution.LayoutMap:
        """Return the layout map that costs least for a Gemma on this mesh."""


EXERCISE = Exercise(
    number=10,
    name="clinic",
    title="The clinic",
    difficulty=2,
    minutes=45,
    prerequisites=("layout", "training"),
    contract=ClinicExercise,
    advanced=True,
    learned="A wrong layout shows in rules, specs and shards, and not in the loss.",
    hints=(
        "Work like a doctor: what can you see without a machine? The keys and the paths are text. For each cause of "
        "the "
        "docstring, say which two things you compare: a key and a path, a spec and a shape, a spec and the table of "
        "the "
        "lesson, two shardings, or two sets of paths.",
        "Task 1: `re.fullmatch`; a list over the layout map has its keys. Task 2: the keys that occur in no list, and "
        "the lists with more than one key. Task 3: `layout_map[key].axes` is the spec of a key, and "
        "`layout_map.device_mesh` has `axis_names` and `shape`. Task 4: `sharding.is_equivalent_to(other, number of "
        "dimensions)`, and differences of `keys()`. Task 5: for which two kernels does the number of heads matter?",
        "Task 3: first skip the paths with two rules. Then name what does not fit, and continue with the next path. "
        "Then "
        "skip adapters. Then compare a dictionary, dimension -> axis, without the Nones, with the expected one: empty "
        "for "
        "a scale, and for key and value if the axis does not divide their heads. If they differ, it is the costly "
        "dimension, or replicated if yours is empty. Task 5: a pattern for the kernels that are split by heads, whose "
        "alternatives depend on `num_key_value_heads`, and one for each other kind of matrix. End each with /kernel.",
    ),
    questions={
        ("spec", "deciding_rules", 60): {
            "rules": "For each path of 21 patients, the rules must be those that Keras finds.",
        },
        ("spec", "diagnose_layout", 60): {
            "causes": "Each of 21 layout maps must get its causes, with the rules and the paths that show them.",
        },
        ("spec", "diagnose_moments", 60): {
            "moments": "Each of 21 optimizers must get its causes, with the paths that show them.",
        },
        ("spec", "prescribe", 90): {
            "prescription": "Gemma 7B, Gemma 2B and two small models must be sharded at least cost, with and without "
            "LoRA.",
        },
    },
    remedies={
        "Read the pattern": {
            "CLINIC_WRONG_RULES": "Compare one of these paths with each key of its layout map, character by character.",
            "CLINIC_PATTERN_WITHOUT_END": "Write the end of the path into the pattern: an adapter has the name of its "
            "layer, and other dimensions.",
        },
        "Where to look": {
            "CLINIC_WRONG_DIAGNOSIS": "Take the first of these names, and compare its spec with its shape, the mesh, "
            "and "
            "the table of the lesson.",
            "CLINIC_SCALE_SPLIT": "Leave scales to no rule: then they are replicated.",
        },
        "Moments that were moved": {
            "CLINIC_WRONG_MOMENTS": "Take the first of these paths: is it trained, does it have moments, and does each "
            "place the same shards on the same devices as the variable? One of these is not so."
        },
    },
)
