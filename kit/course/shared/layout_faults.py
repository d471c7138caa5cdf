"""What a layout map does to a Gemma, compared with tensor parallelism: each rule by itself."""

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras

from kit.course.shared import tensor_parallel as oracle
from kit.evidence.attribution import without_block_number
from kit.evidence.rule_coverage import RuleCoverage, rule_coverage
from kit.formatting import format_bytes
from kit.models.weightless import VariableInfo, weightless_variables

Spec = tuple[str | None, ...]

_BLOCK = re.compile(r"decoder_block_(\d+)")
#: Where a pattern is divided to compare its pieces with names of layers.
_BETWEEN_NAMES = re.compile(r"/|\\?\.[*+]?\??")
#: The number in a piece with a misspelled name, as a share of what two names have in common.
_ALIKE = 0.8


@dataclass(frozen=True)
class Deviation:
    """Variables of one kind that one rule, or none, shards in another way than is expected."""

    #: The path with N for the number of the block, such as "decoder_block_N/ffw_linear/kernel".
    kind: str
    #: Position of the rule, from 1, and its pattern; 0 and "" if no rule matches.
    number: int
    pattern: str
    #: With an entry for each dimension; empty if no rule matches.
    spec: Spec
    expected: Spec
    shape: tuple[int, ...]
    #: Of all blocks, together and unsharded.
    count: int
    nbytes: int
    #: What a device holds of them, and would hold as expected.
    held: float
    needed: float
    #: The blocks that these variables are in, and how many blocks the model has.
    blocks: tuple[int, ...]
    all_blocks: int
    #: Whether the variables are matrices that are to be sharded.
    to_be_sharded: bool
    paths: tuple[str, ...]

    @property
    def replicated(self) -> bool:
        """Whether each device holds all of a matrix that is to be sharded."""
        return self.to_be_sharded and self.held >= self.nbytes

    @property
    def in_all_blocks(self) -> bool:
        """Whether no block is without such variables."""
        return len(self.blocks) in (0, self.all_blocks)

    @property
    def rule(self) -> str:
        """For a table."""
        return f"rule {self.number}, {self.pattern}" if self.number else "no rule"

    @property
    def name(self) -> str:
        """The kind without its block: ``ffw_linear/kernel``."""
        return self.kind.removeprefix("decoder_block_N/")

    @property
    def shown(self) -> str:
        """``28 x ffw_linear/kernel``, with the blocks if there are others."""
        count = f"{self.count} x " if self.count > 1 else ""
        return f"{count}{self.name}" + ("" if self.in_all_blocks else f" of {ranges(self.blocks)}")


@dataclass(frozen=True)
class Layout:
    """What a layout map does to a model, and what is expected."""

    #: Model and mesh, for diagnostics.
    where: str
    variables: Sequence[VariableInfo]
    axis_sizes: Mapping[str, int]
    coverage: RuleCoverage
    #: Kind of matrix -> spec.
    expected: Mapping[str, Spec]

    @classmethod
    def of(cls, layout_map: keras.distribution.LayoutMap, model: str, config: Mapping[str, Any], rank: int) -> "Layout":
        """Apply a layout map to a model, which is given as the content of a ``config.json``."""
        sizes = dict(zip(layout_map.device_mesh.axis_names, layout_map.device_mesh.shape, strict=True))
        variables = weightless_variables(config, rank)
        return cls(
            f"{model} on the mesh ({sizes['batch']}, {sizes['model']})",
            variables,
            sizes,
            rule_coverage(layout_map, variables),
            oracle.expected_layout(config["config"], sizes["model"]),
        )

    @cached_property
    def by_path(self) -> dict[str, VariableInfo]:
        """Path -> variable."""
        return {variable.path: variable for variable in self.variables}

    @cached_property
    def rules(self) -> dict[str, tuple[int, str, Spec]]:
        """Path -> number, pattern and spec of its rule, with an entry for each dimension."""
        return {
            path: (number, rule.pattern, rule.spec + (None,) * (len(self.by_path[path].shape) - len(rule.spec)))
            for number, rule in enumerate(self.coverage.rules, 1)
            for path in rule.paths
        }

    def spec(self, path: str) -> Spec:
        """The spec of the rule that matches a path; empty if none does."""
        return self.rules[path][2] if path in self.rules else ()

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Path -> kind of matrix."""
        return {path: kind for path in self.by_path if (kind := oracle.kind_of(path))}

    @cached_property
    def to_be_sharded(self) -> set[str]:
        """Matrices that each device needs a slice of."""
        return {path for path, kind in self.kinds.items() if any(self.expected[kind])}

    @cached_property
    def to_be_replicated(self) -> set[str]:
        """Matrices that every device needs in full."""
        return self.kinds.keys() - self.to_be_sharded

    @cached_property
    def idle(self) -> list[str]:
        """The patterns of rules that match nothing: no variable, and no output of a layer."""
        return [rule.pattern for rule in self.coverage.rules if rule.idle]

    def shards(self, path: str, spec: Spec) -> int:
        """The number of slices that a spec makes; 1 for an axis with a single device."""
        count = 1
        for axis in spec:
            count *= self.axis_sizes.get(axis or "", 1)
        return count

    def allowed(self, path: str) -> list[Spec]:
        """The specs of tensor parallelism for a variable, the usual one first."""
        none: Spec = (None,) * len(self.by_path[path].shape)
        if path in self.kinds:
            return [self.expected[self.kinds[path]]]
        # LoRA's A has the dimensions of its kernel, except for the last.
        kernel = self.expected.get(self.kinds.get(path.replace("/lora_kernel_a", "/kernel"), ""), none)
        return [none] if len(kernel) != len(none) else [none, kernel]

    @cached_property
    def deviations(self) -> list[Deviation]:
        """Where the layout is not that of tensor parallelism: the costliest in bytes first."""
        found: dict[tuple[str, int, str, Spec], list[str]] = defaultdict(list)
        blocks = {path: int(match[1]) for path in self.by_path if (match := _BLOCK.search(path))}
        for path, variable in self.by_path.items():
            number, pattern, spec = self.rules.get(path, (0, "", ()))
            full = spec or (None,) * len(variable.shape)
            if full not in self.allowed(path):
                found[without_block_number(path), number, pattern, spec].append(path)
        made = [
            self._deviation(key, paths, tuple(sorted({blocks[path] for path in paths if path in blocks})), blocks)
            for key, paths in found.items()
        ]
        return sorted(made, key=lambda one: one.needed - one.held)

    def _deviation(
        self, key: tuple[str, int, str, Spec], paths: list[str], of_blocks: tuple[int, ...], blocks: dict[str, int]
    ) -> Deviation:
        kind, number, pattern, spec = key
        members, expected = [self.by_path[path] for path in paths], self.allowed(paths[0])[0]
        nbytes = sum(variable.nbytes for variable in members)
        return Deviation(
            kind,
            number,
            pattern,
            spec,
            expected,
            members[0].shape,
            len(paths),
            nbytes,
            nbytes / self.shards(paths[0], spec),
            nbytes / self.shards(paths[0], expected),
            of_blocks,
            len(set(blocks.values())),
            paths[0] in self.to_be_sharded,
            tuple(paths),
        )


def meant_for(pattern: str, names: Iterable[str]) -> set[str]:
    """Those of the kinds of matrices that a rule which matches nothing was written for.

    A piece of the pattern, between its slashes and wildcards, matches the name of the layer; or
    else it is almost spelled like it. Empty if that does not say.
    """
    layers = {name: name.split("/")[-2] for name in names}
    pieces = [piece for piece in _BETWEEN_NAMES.split(pattern) if piece]
    found = {name for name, layer in layers.items() if any(_matches(piece, layer) for piece in pieces)}
    if found:
        return found
    words = [word.strip("_0123456789") for word in re.findall(r"[A-Za-z_0-9]{4,}", pattern)]
    near = {layer for word in words for layer in difflib.get_close_matches(word, layers.values(), 1, _ALIKE)}
    return {name for name, layer in layers.items() if layer in near}


def _matches(piece: str, layer: str) -> bool:
    try:
        return re.fullmatch(piece, layer) is not None
    except re.error:
        # The pattern was divided within parentheses.
        return False


def account(deviations: Sequence[Deviation]) -> str:
    """``28 x ffw_linear/kernel (8.46 GB) and 28 x …``: what each device holds of each kind."""
    parts = [f"{one.shown} ({format_bytes(one.held)})" for one in deviations[:3]]
    if len(deviations) > 3:
        held = sum(one.held for one in deviations[3:])
        kinds = len(deviations) - 3
        parts.append(f"{kinds} more kind{'s' if kinds > 1 else ''} ({format_bytes(held)})")
    return joined(parts)


def joined(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def ranges(blocks: Sequence[int]) -> str:
    """``blocks 0, 4 to 9 and 12``."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and block == runs[-1][-1] + 1:
            runs[-1].append(block)
        else:
            runs.append([block])
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    if len(shown) > 4:
        shown = [*shown[:3], f"{len(shown) - 3} more"]
    return f"block{'s' if len(blocks) > 1 else ''} {joined(shown)}"


#: Kind of matrix -> which dimension to split, and why.
SPLIT: dict[str, str] = {
    "token_embedding/embeddings": "Split the vocabulary of the embeddings: their transpose is the last matrix of the "
    "model, so that the hidden dimension is its input and the vocabulary its output.",
    **dict.fromkeys(
        ("attention/query/kernel", "attention/key/kernel", "attention/value/kernel"),
        "Split the heads of query, key and value: a head needs no other head.",
    ),
    "attention/attention_output/kernel": "Split the heads of attention_output: a device then takes the results of its "
    "own heads as inputs.",
    **dict.fromkeys(
        ("ffw_gating/kernel", "ffw_gating_2/kernel"),
        "Split the intermediate dimension of both gating matrices, their outputs.",
    ),
    "ffw_linear/kernel": "Split the intermediate dimension of ffw_linear, its inputs.",
}


def split_remedy(kinds: Iterable[str]) -> str:
    """Which dimension to split, for each of these kinds of matrices."""
    return " ".join(dict.fromkeys(SPLIT[kind] for kind in kinds))
