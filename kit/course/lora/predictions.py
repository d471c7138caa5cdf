"""Questions about LoRA, and their measurements. Imports no framework."""

from kit.course.predictions import Question


def _trainable(rank: int) -> float:
    """Elements of the trainable variables of the bundled model with LoRA."""
    from kit.models.presets import find_preset
    from kit.models.weightless import weightless_variables

    variables = weightless_variables(find_preset("bundled").config, rank)
    return float(sum(variable.size for variable in variables if variable.trainable))


def measure_rank_4() -> float:
    """Parameters that rank 4 adds."""
    return _trainable(4)


def measure_rank_8() -> float:
    """Parameters that rank 8 adds."""
    return _trainable(8)


QUESTIONS = (
    Question(
        "rank_4",
        "The bundled model has 4 layers, 8 query and 8 value heads, hidden width 128 and head dimension 16. How many "
        "parameters does LoRA of rank 4 add to query and value?",
        measure_rank_4,
        "A kernel of (heads, hidden, head) has A of (8, 128, 4) and B of (4, 16): 4,096 + 64 parameters. Two kernels "
        "in each of 4 layers make 8 x 4,160.",
        mistakes={
            "16,640": "You counted one of query and value.",
            "8,320": "You counted one layer of four.",
            "36,864": "B has no dimension for the heads: it is (4, 16), and not (8, 4, 16).",
            "4,608": "A has a dimension for the heads: it is (8, 128, 4), and not (128, 4).",
        },
    ),
    Question(
        "rank_8",
        "And LoRA of rank 8?",
        measure_rank_8,
        "The rank is a factor of both matrices, so twice the rank has twice the parameters.",
        mistakes={"133,120": "The rank is in each matrix once: not four times as many."},
    ),
)
