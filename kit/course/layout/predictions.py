"""Questions about the layout map, and their measurements. Imports no framework."""

from typing import TYPE_CHECKING

from kit.course.predictions import BYTES, Question

if TYPE_CHECKING:
    from kit.evidence.rule_coverage import RuleCoverage


def _coverage(preset: str, without: str = "nothing") -> "RuleCoverage":
    """Tensor parallelism of a preset on the mesh 1 x 8, without the rules for some paths."""
    from kit.course.shared.tensor_parallel import device_mesh, split_paths, tensor_parallel_map
    from kit.evidence.rule_coverage import rule_coverage
    from kit.models.architectures import find_architecture
    from kit.models.weightless import weightless_variables

    config = find_architecture(preset)
    paths = [path for path in split_paths(config["config"]["num_layers"]) if without not in path]
    return rule_coverage(tensor_parallel_map(device_mesh(1, 8), paths), weightless_variables(config))


def measure_bundled() -> float:
    """Bytes of the bundled model on one of 8 devices."""
    return float(_coverage("bundled").nbytes_per_device)


def measure_missed() -> float:
    """Bytes that one of 8 devices holds of Gemma 7B more if a rule misses ffw_gating_2."""
    return float(
        _coverage("gemma_7b_en", "ffw_gating_2/").nbytes_per_device - _coverage("gemma_7b_en").nbytes_per_device
    )


QUESTIONS = (
    Question(
        "bundled",
        "The bundled model has 1,311,872 parameters in float32, or 5,247,488 bytes. All are in matrices, except for "
        "nine scales of 128. How many bytes does each of 8 devices hold on a mesh of 1 x 8?",
        measure_bundled,
        "An eighth of the matrices, and all of the nine scales: a scale is replicated.",
        BYTES,
        within=0.0001,
        mistakes={"655,936": "You also split the scales, which are replicated."},
    ),
    Question(
        "missed_rule",
        "A rule for Gemma 7B in float32 misses the second gating matrices: 28 of 3,072 x 24,576. How many bytes more "
        "does each of 8 devices hold then, on a mesh of 1 x 8?",
        measure_missed,
        "Each device has seven eighths more of these matrices: 28 x 3,072 x 24,576 x 4 bytes x 7/8. Neither the "
        "loss nor the output shows it.",
        BYTES,
        within=0.02,
        mistakes={
            "8.456 GB": "Each device would hold an eighth anyway, so seven eighths are added.",
            "264 MB": "You took one block of 28.",
            "1.85 GB": "You took one byte for each parameter; float32 has four.",
        },
    ),
)
