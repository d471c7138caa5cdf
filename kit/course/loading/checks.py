"""The checks of the exercise ``loading``."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias, TypeVar

import jax
import keras
import keras_hub
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.shared import small_models
from kit.course.shared import tensor_parallel as oracle
from kit.course.shared.meshes import mesh_shapes, mesh_with_batch_axis, sharding_meshes
from kit.judge.observation import Outcome, returned
from kit.judge.submission import Submission
from kit.models.presets import BUNDLED_FOLDER

Value = TypeVar("Value")
#: A mesh axis or None for each dimension of a variable.
Spec: TypeAlias = tuple[Any, ...]

FUNCTION = "load_distributed"
EMBEDDINGS = "token_embedding/embeddings"
#: Path -> spec of all matrices of the bundled model, which has 4 blocks. The embeddings have a
#: different spec from the course, so that the checks see whether the given layout map is used.
SPECS: dict[str, Spec] = {path: oracle.TENSOR_PARALLEL[oracle.kind_of(path) or ""] for path in oracle.split_paths(4)}
SPECS[EMBEDDINGS] = (None, "model")

#: Layers whose tables are checked.
TABLES = ("decoder_block_0", "token_embedding", "final_normalization")
#: Matrices whose arrays are moved to another spec than that of the layout map.
TURNED = ("ffw_gating/kernel", "ffw_linear/kernel")
#: The layer whose array is moved to one device, where a sharding has no spec.
ON_ONE_DEVICE = "final_normalization"


@dataclass(frozen=True)
class Placed:
    """A variable and where its array really is."""

    shape: tuple[int, ...]
    #: None if the array is not on a mesh.
    spec: Spec | None


@dataclass(frozen=True)
class DistributionSeen:
    """The distribution that is set after the model is loaded."""

    #: Name of its class.
    kind: str
    is_model_parallel: bool
    #: The rest is empty unless it is a ModelParallel.
    batch_dim_name: str = ""
    auto_shard_dataset: bool = False
    mesh_shape: tuple[int, ...] = ()
    #: Path -> spec that the distribution's layout map gives for the matrices of the model.
    layout: dict[str, Spec] | None = None


@dataclass(frozen=True)
class LoadedSeen:
    """The loaded model, and the distribution that is set."""

    distribution: DistributionSeen | None
    #: Path -> where the variable is.
    variables: dict[str, Placed]


@dataclass(frozen=True)
class Row:
    """A row of a sharding table as text."""

    #: Path, shape and spec, with tuples in the place of lists and PartitionSpecs.
    comparable: str
    #: As it is returned.
    shown: str
    #: Path and shape, and the spec as it is returned; empty if the row has other entries.
    variable: str = ""
    spec: str = ""


def observe_distribution(submission: Submission) -> Outcome[LoadedSeen]:
    """Distribution and placement after the model is loaded over a mesh with a batch axis."""
    # With a batch axis where there are enough devices, so that the two axes cannot be confused.
    return _load(submission, sharding_meshes()[-1], _loaded)


def judge_distribution(outcome: Outcome[LoadedSeen]) -> None:
    """The distribution is the expected one, and all variables are placed as it says."""
    seen = returned(outcome)
    found, mesh_shape = seen.distribution, sharding_meshes()[-1]
    assert seen.variables, "the model has no variables"
    expected = {path: (None,) * len(variable.shape) for path, variable in seen.variables.items()} | SPECS
    placed = {path: variable.spec for path, variable in seen.variables.items()}
    wrong = [path for path in expected if placed.get(path) != expected[path]]
    example = wrong[0] if wrong else EMBEDDINGS
    rows: list[tuple] = [
        ("distribution", "ModelParallel", found.kind if found else "none"),
        (example, expected[example], placed.get(example) or "one device"),
        ("variables in place", len(expected), len(expected) - len(wrong)),
    ]
    columns = ("", "expected", "found")
    if found is None:
        raise Failed("LOADING_NO_DISTRIBUTION", f"No distribution is set after {FUNCTION}.", columns, rows)
    if not found.is_model_parallel:
        raise Failed("LOADING_WRONG_DISTRIBUTION", f"The distribution is a {found.kind}.", columns, rows)
    settings = [
        ("batch_dim_name", "batch", found.batch_dim_name),
        ("auto_shard_dataset", False, found.auto_shard_dataset),
        ("mesh", mesh_shape, found.mesh_shape),
    ]
    layout = found.layout or {}
    settings += [
        (f"layout of {path}", spec, layout.get(path)) for path, spec in SPECS.items() if layout.get(path) != spec
    ][:1]
    rows += settings
    if any(found_value != expected_value for _, expected_value, found_value in settings):
        raise Failed("LOADING_WRONG_DISTRIBUTION", "The ModelParallel has other settings.", columns, rows)
    if wrong:
        cause = f"{len(wrong)} of {len(expected)} variables are not placed as the current distribution says."
        raise Failed("LOADING_DISTRIBUTION_TOO_LATE", cause, columns, rows)


def observe_weights(submission: Submission) -> Outcome[dict[str, np.ndarray]]:
    """The values of the loaded model by path."""
    return _load(submission, mesh_shapes()[0], lambda model: small_models.values(model.backbone.variables))


def judge_weights(outcome: Outcome[dict[str, np.ndarray]]) -> None:
    """The values are those of the preset, loaded here without a distribution."""
    plain, loaded = small_models.values(small_models.bundled_model().backbone.variables), returned(outcome)
    assert len(plain) == 38, "the bundled model has another number of variables"
    wrong = [path for path in plain if path not in loaded or not np.array_equal(plain[path], loaded[path])]
    if wrong:
        path = wrong[0]
        mine = f"{loaded[path].ravel()[0]:.6f}" if path in loaded else "missing"
        cause = f"{len(wrong)} of {len(plain)} variables do not have the values of the preset."
        rows = [(path, f"{plain[path].ravel()[0]:.6f}", mine)]
        raise Failed("LOADING_WEIGHTS_MISSING", cause, ("variable", "first value in the preset", "yours"), rows)


def observe_options(submission: Submission) -> Outcome[list[str]]:
    """The dtypes of a model that is loaded with ``dtype="bfloat16"``."""

    def dtypes(model: keras_hub.models.CausalLM) -> list[str]:
        return sorted({str(variable.dtype) for variable in model.backbone.variables})

    return _load(submission, mesh_shapes()[0], dtypes, dtype="bfloat16")


def judge_options(outcome: Outcome[list[str]]) -> None:
    """All variables are bfloat16."""
    dtypes = returned(outcome)
    if dtypes != ["bfloat16"]:
        cause = f'{FUNCTION}(…, dtype="bfloat16") loads variables of another dtype.'
        raise Failed("LOADING_OPTIONS_IGNORED", cause, ("expected", "yours"), [("bfloat16", ", ".join(dtypes))])


def observe_table(submission: Submission) -> dict[str, Outcome[list[Row]]]:
    """The tables of some layers, whose arrays are not where the layout map says."""
    small_models.set_distribution(*mesh_with_batch_axis())
    backbone = small_models.small_model(rank=0, num_layers=1).backbone
    for variable in backbone.variables:
        sharding: jax.sharding.Sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        if not variable.path.startswith(ON_ONE_DEVICE):
            # Like the specs that JAX itself makes, without trailing Nones.
            spec = jax.sharding.PartitionSpec(*_without_trailing_nones(_moved_spec(variable.path)))
            sharding = jax.sharding.NamedSharding(variable.value.sharding.mesh, spec)
        variable._value = jax.device_put(variable.value, sharding)
    return {
        name: submission.observe(
            "sharding_table",
            backbone.get_layer(name),
            reads=lambda table: list(map(_row, table)),
            returns=(list, tuple),
        )
        for name in TABLES
    }


def judge_table(tables: dict[str, Outcome[list[Row]]]) -> None:
    """Each table has paths and shapes of the small model, and the specs of its arrays."""
    assert tables.keys() == set(TABLES), "not all tables were requested"
    backbone = small_models.small_model(rank=0, num_layers=1).backbone
    for name in TABLES:
        expected = []
        for variable in backbone.get_layer(name).variables:
            spec = _moved_spec(variable.path)
            full = spec + (None,) * (len(variable.shape) - len(spec))
            expected.append((variable.path, tuple(variable.shape), full))
        assert expected, f"{name} has no variables"
        found = returned(tables[name])
        if sorted(row.comparable for row in found) != sorted(map(repr, expected)):
            rows = [
                (position, *_differing(right, row))
                for position, (row, right) in enumerate(zip_longest(found, expected))
                if row is None or row.comparable != repr(right)
            ]
            cause = f"{len(rows)} of {len(expected)} rows of the table of {name} do not match its arrays."
            raise Failed("SHARDING_TABLE_WRONG", cause, ("row", "what", "expected", "yours"), rows)


def _load(
    submission: Submission,
    mesh_shape: tuple[int, int],
    reads: Callable[[keras_hub.models.CausalLM], Value],
    **options: Any,
) -> Outcome[Value]:
    """Load the bundled model over a mesh of this shape, with the layout SPECS."""
    layout_map = keras.distribution.LayoutMap(oracle.device_mesh(*mesh_shape))
    for path, spec in SPECS.items():
        layout_map[path] = spec
    causal_lm = keras_hub.models.CausalLM
    return submission.observe(FUNCTION, str(BUNDLED_FOLDER), layout_map, reads=reads, returns=causal_lm, **options)


def _loaded(model: keras_hub.models.CausalLM) -> LoadedSeen:
    found, variables = keras.distribution.distribution(), model.backbone.variables
    placed = {variable.path: Placed(tuple(variable.shape), _spec(variable)) for variable in variables}
    if found is None:
        return LoadedSeen(None, placed)
    kind = type(found).__name__
    if not isinstance(found, keras.distribution.ModelParallel):
        return LoadedSeen(DistributionSeen(kind, is_model_parallel=False), placed)
    return LoadedSeen(
        DistributionSeen(
            kind,
            is_model_parallel=True,
            batch_dim_name=str(found.batch_dim_name),
            auto_shard_dataset=bool(found.auto_shard_dataset),
            mesh_shape=tuple(map(int, found.device_mesh.shape)),
            layout={
                variable.path: tuple(found.get_variable_layout(variable).axes)
                for variable in variables
                if variable.path in SPECS
            },
        ),
        placed,
    )


def _spec(variable: keras.Variable) -> Spec | None:
    """The full spec of the variable's array; None if the array is not on a mesh."""
    sharding = variable.value.sharding
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return None
    spec = tuple(sharding.spec)
    return spec + (None,) * (len(variable.shape) - len(spec))


def _moved_spec(path: str) -> Spec:
    """The spec that :func:`observe_table` moves a variable to."""
    kind = oracle.kind_of(path) or ""
    spec = oracle.TENSOR_PARALLEL.get(kind, ())
    return spec[::-1] if kind in TURNED else spec


def _without_trailing_nones(spec: Spec) -> Spec:
    while spec and spec[-1] is None:
        spec = spec[:-1]
    return spec


def _row(row: Any) -> Row:
    if not isinstance(row, list | tuple):
        return Row(repr(row), repr(row))
    sequences = list | tuple | jax.sharding.PartitionSpec
    if len(row) != 3 or not all(isinstance(item, sequences) for item in row[1:]):
        return Row(repr(tuple(row)), repr(tuple(row)))
    variable = (str(row[0]), tuple(row[1]))
    return Row(repr((*variable, tuple(row[2]))), repr(tuple(row)), repr(variable), repr(row[2]))


def _differing(expected: tuple | None, row: Row | None) -> tuple[str, str, str]:
    """What differs between two rows: only the spec if path and shape are right."""
    if expected and row and row.variable == repr(expected[:2]):
        return f"spec of {expected[0]}", repr(expected[2]), row.spec
    return "the row", repr(expected) if expected else "-", row.shown if row else "-"
