"""The oracle of ``argument_nbytes``: bytes on one device, counted over Keras' own variables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.course.shared import tensor_parallel
from kit.models.weightless import VariableInfo, weightless_variables

Mesh = tuple[int, int]


@dataclass(frozen=True)
class Configuration:
    """A model and how it is trained."""

    model: str
    #: The content of a preset's ``config.json``.
    config: Mapping[str, Any]
    #: Sizes of the axes "batch" and "model".
    mesh: Mesh
    #: Of LoRA; 0 trains all parameters.
    rank: int
    dtype: str

    def __str__(self) -> str:
        tuned = f"LoRA of rank {self.rank}" if self.rank else "all parameters trained"
        return f"{self.model}, {tuned}, {self.dtype}, mesh {self.mesh}"

    @property
    def variables(self) -> list[VariableInfo]:
        """The variables that Keras makes for it."""
        return weightless_variables(self.config, self.rank, dtype=self.dtype)


def expected_nbytes(configuration: Configuration) -> int:
    """Bytes of weights, adapters and moments on one device."""
    return _count(configuration.variables, configuration.mesh)


def common_mistakes(configuration: Configuration) -> list[tuple[str, str, int]]:
    """Code, description and resulting bytes of each common mistake."""
    variables, mesh, dtype = configuration.variables, configuration.mesh, configuration.dtype
    model_itemsize = 2 if dtype == "bfloat16" else 4

    def count(**changes: Callable[..., int]) -> int:
        return _count(variables, mesh, **changes)

    def half_if_mixed(variable: VariableInfo) -> int:
        return 4 if _is_adapter(variable) or dtype == "float32" else 2

    def over_all_devices(variable: VariableInfo, mesh: Mesh) -> int:
        return _shards(variable, (1, mesh[0] * mesh[1]))

    def scales_too(variable: VariableInfo, mesh: Mesh) -> int:
        return 1 if _is_adapter(variable) else mesh[1]

    def adapters_too(variable: VariableInfo, mesh: Mesh) -> int:
        return mesh[1] if _is_adapter(variable) else _shards(variable, mesh)

    moments, dtypes, shards = "PLANNING_WRONG_MOMENTS", "PLANNING_WRONG_DTYPE", "PLANNING_WRONG_SPLIT"
    return [
        (moments, "no moments", count(moments=lambda variable: 0)),
        (moments, "one moment", count(moments=lambda variable: 1 * variable.trainable)),
        (moments, "moments of frozen elements too", count(moments=lambda variable: 2)),
        (dtypes, "adapters in the model's dtype", count(itemsize=lambda variable: model_itemsize)),
        (dtypes, "everything in float32", count(itemsize=lambda variable: 4)),
        (dtypes, "bfloat16 for mixed_bfloat16", count(itemsize=half_if_mixed)),
        (dtypes, "moments in float32", count(moment_itemsize=lambda variable: 4)),
        (shards, "nothing sharded", count(shards=lambda variable, mesh: 1)),
        (shards, "matrices sharded over all devices", count(shards=over_all_devices)),
        (shards, "scales sharded too", count(shards=scales_too)),
        (shards, "adapters sharded too", count(shards=adapters_too)),
        (shards, "everything sharded", count(shards=lambda variable, mesh: mesh[1])),
    ]


def _moments(variable: VariableInfo) -> int:
    return 2 * variable.trainable


def _itemsize(variable: VariableInfo) -> int:
    return variable.nbytes // variable.size


def _shards(variable: VariableInfo, mesh: Mesh) -> int:
    return mesh[1] if tensor_parallel.kind_of(variable.path) else 1


def _is_adapter(variable: VariableInfo) -> bool:
    return "/lora_" in variable.path


def _count(
    variables: Sequence[VariableInfo],
    mesh: Mesh,
    moments: Callable[[VariableInfo], int] = _moments,
    itemsize: Callable[[VariableInfo], int] = _itemsize,
    shards: Callable[[VariableInfo, Mesh], int] = _shards,
    moment_itemsize: Callable[[VariableInfo], int] | None = None,
) -> int:
    """Bytes on one device, variable by variable. The defaults are right; a mistake changes one."""
    total = 0
    for variable in variables:
        elements = variable.size // shards(variable, mesh)
        total += elements * itemsize(variable)
        total += elements * moments(variable) * (moment_itemsize or itemsize)(variable)
    assert total, "a model without variables"
    return total
