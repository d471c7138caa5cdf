"""Instructions in the text of a compiled program (XLA's HLO)."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

COLLECTIVE_KINDS = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(?P<name>[\w.\-]+) = ")
_ARRAY = re.compile(r"(?P<dtype>[a-z]+[0-9]*)\[(?P<shape>[0-9,]*)\]")
_OP_NAME = re.compile(r'op_name="(?P<op_name>[^"]*)"')
_OPERAND = re.compile(r"%([\w.\-]+)")
_ITEM_SIZES = {"pred": 1, "bf16": 2}


@dataclass(frozen=True)
class Instruction:
    """One line of a program."""

    name: str
    #: For example "fusion", or "all-reduce-start".
    opcode: str
    #: Result arrays: (name of the dtype, shape). A tuple has more than one.
    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    operands: tuple[str, ...]
    #: Its origin in the Python program: scopes of layers, then JAX' operation. Empty if unknown.
    op_name: str
    #: The text after the operands.
    attributes: str

    @property
    def kind(self) -> str | None:
        """The kind of collective; None for others, and for the "done" of an asynchronous one."""
        kind = self.opcode.removesuffix("-start")
        return kind if kind in COLLECTIVE_KINDS else None

    @property
    def nbytes(self) -> int:
        """Bytes of the result on one device."""
        arrays = self.arrays
        if self.opcode in ("all-gather-start", "collective-permute-start") and len(arrays) > 1:
            # Operands come first, then results; a permute ends with two counters.
            arrays = tuple(array for array in arrays if array[1] or array[0] not in ("u32", "s32"))
            arrays = arrays[len(arrays) // 2 :]
        return sum(item_size(dtype) * math.prod(shape) for dtype, shape in arrays)


def item_size(dtype: str) -> int:
    """Bytes per element of a dtype with XLA's name, for example "f32"."""
    return _ITEM_SIZES.get(dtype) or max(int("".join(filter(str.isdigit, dtype)) or 8) // 8, 1)


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of all computations of a program."""
    for line in text.splitlines():
        match = _INSTRUCTION.match(line)
        if match is None:
            continue
        result, rest = _split_type(line[match.end() :])
        opcode, _, rest = rest.partition("(")
        end = _closing(rest)
        attributes = rest[end + 1 :]
        op_name = _OP_NAME.search(attributes)
        found = [(array["dtype"], array["shape"].split(",")) for array in _ARRAY.finditer(result)]
        arrays = tuple((dtype, tuple(int(size) for size in shape if size)) for dtype, shape in found)
        operands, origin = tuple(_OPERAND.findall(rest[:end])), op_name["op_name"] if op_name else ""
        yield Instruction(match["name"], opcode.strip(), arrays, operands, origin, attributes)


def _split_type(text: str) -> tuple[str, str]:
    """The type of a result, and the rest; the type of a tuple has spaces and parentheses."""
    end = _closing(text[1:]) + 2 if text.startswith("(") else text.find(" ")
    return text[:end], text[end:].lstrip()


def _closing(text: str) -> int:
    """The position that closes a parenthesis opened before the text."""
    depth = 0
    for position, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            if depth == 0:
                return position
            depth -= 1
    return len(text)


_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_COUNTED = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_BY_MESH = re.compile(
    r"replica_groups=(?:@?\w+)?\s*mesh\[([^\]]*)\](?:<=\[([\d,]+)\](?:T\(([\d,]+)\))?)?\s*\{([^}]*)\}"
)
_PAIRS = re.compile(r"source_target_pairs=\{(.*?)\}\}")


def first_group(attributes: str, devices: int) -> tuple[int, ...]:
    """The devices of the first replica group (all without one), as positions in the mesh."""
    if match := _LISTED.search(attributes):
        return _numbers(match[1])
    if match := _COUNTED.search(attributes):
        groups, sizes = _numbers(match[1]), _numbers(match[2])
        ids = np.arange(math.prod(sizes)).reshape(sizes)
        if match[3]:
            ids = ids.transpose(_numbers(match[3]))
        return tuple(ids.reshape(groups)[0].tolist())
    if match := _BY_MESH.search(attributes):
        axes = dict(re.findall(r"'([^']+)'=(\d+)", match[1]))
        sizes = tuple(int(size) for size in axes.values())
        ids = np.arange(math.prod(sizes))
        if match[2]:
            ids = ids.reshape(_numbers(match[2]))
            ids = ids.transpose(_numbers(match[3])) if match[3] else ids
        ids = ids.reshape(sizes)
        varying = set(re.findall(r"'([^']+)'", match[4]))
        first = ids[tuple(slice(None) if name in varying else 0 for name in axes)]
        return tuple(np.ravel(first).tolist())
    if match := _PAIRS.search(attributes):
        return tuple(int(number) for number in re.findall(r"\d+", match[1])[:2])
    return tuple(range(devices))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))
