"""The kinds of repeated layers."""

import pytest

from kit.evidence.attribution import without_block_number
from kit.evidence.layer_kinds import LayerKinds
from kit.models.architectures import GEMMA_7B
from kit.models.weightless import weightless_variables


class TestLayerKinds:
    def test_of_a_gemma_they_are_those_of_its_blocks(self) -> None:
        variables = weightless_variables(GEMMA_7B, rank=4)
        kinds = LayerKinds.of((variable.path, variable.shape) for variable in variables)
        assert kinds.blocks == 28
        assert all(kinds(variable.path) == without_block_number(variable.path) for variable in variables)
        # A layer without variables, in one that is known.
        assert kinds("decoder_block_3/dropout") == "decoder_block_N/dropout"

    @pytest.mark.parametrize(
        ("variables", "expected", "blocks"),
        [
            # Keras' own names: the first has no number.
            (
                [("own/block/up/kernel", (4, 8)), ("own/block_1/up/kernel", (4, 8))],
                ["own/block_N/up/kernel"] * 2,
                2,
            ),
            # A flat model, whose layers of this name are not alike.
            ([("dense/kernel", (4, 8)), ("dense_1/kernel", (8, 4))], ["dense/kernel", "dense_1/kernel"], 0),
            ([(f"norm_{n}/scale", (4,)) for n in range(3)], ["norm_N/scale"] * 3, 0),
            # Two matrices of one layer are no repetition.
            ([("gate/kernel", (4, 8)), ("gate_2/kernel", (4, 8))], ["gate/kernel", "gate_2/kernel"], 0),
            ([("layer3/a/kernel", (2, 2)), ("layer12/a/kernel", (2, 2))], ["layerN/a/kernel"] * 2, 2),
            # Keras counts through the whole model.
            (
                [
                    ("b_0/dense/w", (2, 4)),
                    ("b_0/dense_1/w", (4, 2)),
                    ("b_1/dense_2/w", (2, 4)),
                    ("b_1/dense_3/w", (4, 2)),
                ],
                ["b_N/dense/w", "b_N/dense_1/w"] * 2,
                2,
            ),
            # Blocks of two kinds.
            (
                [("b_0/mlp/w", (2, 2)), ("b_1/moe/w", (8, 2, 2)), ("b_2/mlp/w", (2, 2))],
                ["b_N/mlp/w", "b_N/moe/w", "b_N/mlp/w"],
                3,
            ),
        ],
    )
    def test_of_other_models(
        self, variables: list[tuple[str, tuple[int, ...]]], expected: list[str], blocks: int
    ) -> None:
        kinds = LayerKinds.of(variables)
        assert [kinds(path) for path, _ in variables] == expected
        assert kinds.blocks == blocks
