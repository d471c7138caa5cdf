"""The decoder blocks of a Gemma: their kinds, models with fewer of them, and their adapters."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.errors import UserError


@dataclass(frozen=True)
class BlockKind:
    """Blocks of one kind have variables of the same shapes.

    Gemma 1 to 3 have one kind: blocks with and without a sliding window differ in their mask alone.
    """

    #: Global attention, for which Gemma 4 has other numbers and sizes of heads.
    is_global: bool = False
    #: Whether the block uses key and value of an earlier block, and has none of its own.
    shares_keys: bool = False

    @property
    def name(self) -> str:
        """Such as "global attention, shared keys"."""
        return ("global" if self.is_global else "local") + " attention" + (", shared keys" if self.shares_keys else "")


def block_kinds(config: Mapping[str, Any]) -> tuple[BlockKind, ...]:
    """The kind of each decoder block. ``config`` is the content of a preset's ``config.json``."""
    sizes = config["config"]
    layers = sizes["num_layers"]
    if config["class_name"] != "Gemma4Backbone":
        return (BlockKind(),) * layers
    period = sizes.get("sliding_window_pattern", 6)
    types = sizes.get("layer_types") or [
        "full_attention" if block % period == period - 1 else "sliding_attention" for block in range(layers)
    ]
    own = layers - sizes.get("num_kv_shared_layers", 0)
    return tuple(BlockKind(types[block] == "full_attention", block >= own) for block in range(layers))


def with_blocks(config: Mapping[str, Any], kinds: Sequence[BlockKind]) -> dict[str, Any]:
    """The configuration of the same model with these blocks. Those with shared keys are last."""
    changed: dict[str, Any] = {"num_layers": len(kinds)}
    if config["class_name"] == "Gemma4Backbone":
        assert [*kinds] == sorted(kinds, key=lambda kind: kind.shares_keys)
        changed["layer_types"] = ["full_attention" if kind.is_global else "sliding_attention" for kind in kinds]
        changed["num_kv_shared_layers"] = sum(kind.shares_keys for kind in kinds)
    return {**config, "config": {**config["config"], **changed}}


def first_blocks(config: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The configuration of a model of the first ``number`` blocks."""
    return with_blocks(config, block_kinds(config)[:number])


def repeated_blocks(config: Mapping[str, Any]) -> int | None:
    """After how many blocks their kinds repeat, up to the last block; None if they do not.

    They do not where the last blocks share keys of the first.
    """
    kinds = block_kinds(config)
    if any(kind.shares_keys for kind in kinds):
        return None
    periods = [number for number in range(1, len(kinds) + 1) if len(kinds) % number == 0]
    return next(number for number in periods if kinds == kinds[:number] * (len(kinds) // number))


def few_blocks(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Two numbers of blocks from which a plan of all blocks can be extrapolated.

    Empty if there are none, or if all blocks are hardly more.
    """
    period = repeated_blocks(config)
    numbers = () if period is None else (2, 4) if period == 1 else (period, 2 * period)
    return numbers if sum(numbers) < config["config"]["num_layers"] else ()


def lora_parameters(config: Mapping[str, Any], rank: int) -> int:
    """How many parameters LoRA adds to query and value.

    For a kernel of shape (heads, hidden, head dimension), A has shape (heads, hidden, rank) and B
    has shape (rank, head dimension). In Gemma 4, blocks with shared keys have no value, and neither
    have those with global attention if there the value is the key.
    """
    hidden = config["config"]["hidden_dim"]
    projections = [pair for kind in block_kinds(config) for pair in _adapted(config["config"], kind)]
    return sum(rank * (heads * hidden + head_dim) for heads, head_dim in projections)


def _adapted(sizes: Mapping[str, Any], kind: BlockKind) -> Iterator[tuple[int, int]]:
    """Heads and head dimension of a block's query, and of its value if it has one."""
    head_dim = (kind.is_global and sizes.get("global_head_dim")) or sizes["head_dim"]
    yield sizes["num_query_heads"], head_dim
    value_is_key = kind.is_global and sizes.get("num_global_key_value_heads") is not None
    if not kind.shares_keys and not value_is_key:
        yield sizes["num_key_value_heads"], head_dim


def check_extrapolation(config: Mapping[str, Any], layers: Sequence[int]) -> None:
    """Raises UserError if models of these numbers of blocks do not stand for the whole model.

    ``config`` is the content of a preset's ``config.json``.
    """
    shown, period = ",".join(map(str, layers)), repeated_blocks(config)
    if period is None:
        raise UserError(
            f"--layers {shown}: the last blocks of this model use the keys of the first, so few blocks do not stand "
            "for all; compile all of them with `--layers all`."
        )
    if any(number % period for number in layers):
        raise UserError(
            f"--layers {shown}: each {period} blocks of this model end with one of global attention; give multiples "
            f"of {period}, such as {period},{2 * period}."
        )
