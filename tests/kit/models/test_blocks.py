"""Kinds of decoder blocks, and the parameters that LoRA adds."""

import pytest

from kit.errors import UserError
from kit.models.architectures import ARCHITECTURES
from kit.models.blocks import (
    BlockKind,
    block_kinds,
    check_extrapolation,
    few_blocks,
    first_blocks,
    lora_parameters,
    repeated_blocks,
    with_blocks,
)
from kit.models.weightless import weightless_variables
from kit.reference.lora import expected_lora_parameters

LOCAL, GLOBAL = BlockKind(), BlockKind(is_global=True)
SHARED, SHARED_GLOBAL = BlockKind(shares_keys=True), BlockKind(is_global=True, shares_keys=True)


def test_kinds_of_published_models() -> None:
    assert set(block_kinds(ARCHITECTURES["gemma3_27b_text"])) == {LOCAL}
    assert block_kinds(ARCHITECTURES["gemma4_31b"]) == ((LOCAL,) * 5 + (GLOBAL,)) * 10
    e2b = block_kinds(ARCHITECTURES["gemma4_2b"])
    assert e2b == ((LOCAL,) * 4 + (GLOBAL,)) * 3 + ((SHARED,) * 4 + (SHARED_GLOBAL,)) * 4


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_of_a_kind_have_the_same_shapes(name: str) -> None:
    config = ARCHITECTURES[name]
    shapes: list[dict[str, tuple[int, ...]]] = [{} for _ in block_kinds(config)]
    for variable in weightless_variables(config):
        block, _, path = variable.path.partition("/")
        if block.startswith("decoder_block_"):
            shapes[int(block.rpartition("_")[2])][path] = variable.shape
    by_kind = {
        kind: [one for one, other in zip(shapes, block_kinds(config), strict=True) if other == kind]
        for kind in set(block_kinds(config))
    }
    assert all(one == members[0] for members in by_kind.values() for one in members)
    assert len({frozenset(members[0].items()) for members in by_kind.values()}) == len(by_kind)


def test_fewer_blocks() -> None:
    config = ARCHITECTURES["gemma4_2b"]
    for number in (1, 15, 17, 35):
        assert block_kinds(first_blocks(config, number)) == block_kinds(config)[:number]
    kinds = (LOCAL, GLOBAL, SHARED, SHARED_GLOBAL)
    short = with_blocks(config, kinds)
    assert block_kinds(short) == kinds
    whole = {variable.path: variable.shape for variable in weightless_variables(config)}
    shapes = {variable.path: variable.shape for variable in weightless_variables(short)}
    for block, original in ((0, 0), (1, 4), (2, 15), (3, 19)):
        mine = {
            path.partition("/")[2]: shape
            for path, shape in shapes.items()
            if path.startswith(f"decoder_block_{block}/")
        }
        theirs = {
            path.partition("/")[2]: shape
            for path, shape in whole.items()
            if path.startswith(f"decoder_block_{original}/")
        }
        assert mine == theirs


def test_which_blocks_stand_for_all() -> None:
    assert few_blocks(ARCHITECTURES["gemma_7b_en"]) == (2, 4)
    assert few_blocks(ARCHITECTURES["gemma4_26b_a4b"]) == (6, 12)
    assert repeated_blocks(ARCHITECTURES["gemma4_31b"]) == 6
    assert few_blocks(ARCHITECTURES["gemma4_2b"]) == ()
    # A seventh block of the first kind: the kinds end within a period.
    assert repeated_blocks(first_blocks(ARCHITECTURES["gemma4_31b"], 7)) == 7


class TestLora:
    @pytest.mark.params
    @pytest.mark.parametrize("rank", [4, 8])
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_parameters_are_those_of_the_model(self, name: str, rank: int) -> None:
        config = ARCHITECTURES[name]
        trainable = sum(variable.size for variable in weightless_variables(config, rank) if variable.trainable)
        assert trainable == lora_parameters(config, rank) > 0
        if config["class_name"] != "Gemma4Backbone":
            assert expected_lora_parameters(config["config"], rank) == trainable

    def test_gemma_4_by_hand(self) -> None:
        # E2B, rank 1: 28 local and 7 global queries, and 12 local and 3 global values of 15 blocks.
        queries = 28 * (8 * 1536 + 256) + 7 * (8 * 1536 + 512)
        values = 12 * (1536 + 256) + 3 * (1536 + 512)
        assert lora_parameters(ARCHITECTURES["gemma4_2b"], 1) == queries + values
        # 31B: in its 10 global blocks the value is the key.
        queries = 50 * (32 * 5376 + 256) + 10 * (32 * 5376 + 512)
        assert lora_parameters(ARCHITECTURES["gemma4_31b"], 1) == queries + 50 * (16 * 5376 + 256)


def test_which_blocks_are_extrapolated() -> None:
    check_extrapolation(ARCHITECTURES["gemma_7b_en"], (2, 3))
    check_extrapolation(ARCHITECTURES["gemma4_31b"], (6, 12))
    with pytest.raises(UserError, match=r"^--layers 2,4: each 6 blocks .* give multiples of 6, such as 6,12\.$"):
        check_extrapolation(ARCHITECTURES["gemma4_31b"], (2, 4))
    with pytest.raises(UserError, match=r"^--layers 5,10: the last blocks of this model use the keys of the first"):
        check_extrapolation(ARCHITECTURES["gemma4_2b"], (5, 10))
