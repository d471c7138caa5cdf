"""What the functions of ``planning`` are asked about: models, meshes, and sizes of steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kit.course.shared import tensor_parallel
from kit.models.architectures import GEMMA_2B, GEMMA_7B, gemma_config

Mesh = tuple[int, int]
Sizes = Mapping[str, Any]

#: Sizes of Gemma 7B, and of a Gemma with 16 query and 8 key and value heads.
GEMMA: Sizes = GEMMA_7B["config"]
ONE_HEAD: Sizes = GEMMA_2B["config"]
#: A Gemma with 8 query and 4 key and value heads.
FOUR_HEADS: Sizes = {**ONE_HEAD, "num_key_value_heads": 4}
SMALL: Sizes = gemma_config(**{**tensor_parallel.SMALL_SIZES, "num_layers": 5})["config"]


def with_layers(number: int) -> dict[str, Any]:
    """The configuration of Gemma 7B with this number of decoder blocks, as in ``config.json``."""
    return gemma_config(**{**GEMMA, "num_layers": number})


@dataclass(frozen=True)
class Case:
    """A call of one of the functions."""

    name: str
    sizes: Sizes
    #: Sizes of the axes "batch" and "model".
    mesh: Mesh
    dtype: str = "float32"
    #: Of LoRA; 0 trains all parameters.
    rank: int = 0
    #: "tensor" or "fsdp".
    layout: str = "tensor"
    batch_size: int = 0
    #: Tokens of an example.
    length: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of the whole batch."""
        return self.batch_size * self.length

    @property
    def itemsize(self) -> int:
        """Bytes of an element that is computed."""
        return 4 if self.dtype == "float32" else 2


def _stored(name: str, sizes: Sizes, mesh: Mesh, rank: int, dtype: str, layout: str = "tensor") -> Case:
    tuned = f"LoRA of rank {rank}" if rank else "all trained"
    return Case(f"{name}, {tuned}, {dtype}, {layout}, {mesh}", sizes, mesh, dtype, rank, layout)


ARGUMENTS = (
    _stored("7B", GEMMA, (1, 8), 4, "float32"),
    _stored("7B", GEMMA, (2, 4), 4, "bfloat16"),
    _stored("7B", GEMMA, (1, 8), 0, "float32"),
    _stored("7B", GEMMA, (4, 2), 0, "bfloat16"),
    _stored("7B", GEMMA, (1, 8), 9, "mixed_bfloat16"),
    _stored("7B", GEMMA, (4, 2), 0, "bfloat16", "fsdp"),
    _stored("small", SMALL, (2, 4), 3, "float32"),
    _stored("small", SMALL, (2, 4), 5, "float32", "fsdp"),
    _stored("small", SMALL, (1, 8), 0, "bfloat16"),
)


def _step(name: str, sizes: Sizes, mesh: Mesh, batch_size: int, length: int, dtype: str, rank: int = 0) -> Case:
    shown = f"{name}, {batch_size} x {length} tokens, {dtype}, {mesh}"
    return Case(shown, sizes, mesh, dtype, rank, batch_size=batch_size, length=length)


ACTIVATIONS = (
    _step("7B", GEMMA, (1, 8), 16, 512, "bfloat16"),
    _step("7B", GEMMA, (2, 4), 64, 128, "float32"),
    _step("7B", GEMMA, (8, 1), 32, 512, "mixed_bfloat16"),
    _step("small", SMALL, (2, 4), 6, 40, "bfloat16"),
)
CACHE = (
    _step("7B", GEMMA, (1, 8), 1, 8192, "bfloat16"),
    _step("7B", GEMMA, (4, 2), 32, 1024, "float32"),
    _step("2B", ONE_HEAD, (2, 4), 16, 8192, "bfloat16"),
    _step("2B with 4 key and value heads", FOUR_HEADS, (1, 8), 3, 4096, "bfloat16"),
    _step("small", SMALL, (2, 4), 6, 40, "mixed_bfloat16"),
)


def _sending(name: str, sizes: Sizes, mesh: Mesh, rank: int, batch_size: int, length: int) -> Case:
    tuned = f"LoRA of rank {rank}" if rank else "all trained"
    shown = f"{name}, {tuned}, {batch_size} x {length} tokens, {mesh}"
    return Case(shown, sizes, mesh, "float32", rank, batch_size=batch_size, length=length)


SENT = (
    _sending("7B", GEMMA, (1, 8), 4, 2, 128),
    _sending("7B", GEMMA, (1, 8), 0, 2, 128),
    _sending("7B", GEMMA, (2, 4), 0, 8, 128),
    _sending("7B", GEMMA, (4, 2), 0, 32, 512),
    _sending("7B", GEMMA, (8, 1), 4, 32, 512),
    _sending("7B, 3 blocks", with_layers(3)["config"], (8, 1), 0, 8, 320),
    _sending("small", SMALL, (2, 4), 0, 6, 40),
    _sending("small", SMALL, (8, 1), 3, 16, 40),
)
