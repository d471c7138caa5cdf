"""The checks of the exercise ``loading``."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import jax
import keras
import keras_hub
import ml_dtypes
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
OTHER_LAYOUT = (
    "The layout map of this test splits the embeddings along the hidden dimension. That is not the layout of the "
    "exercise `layout`: it shows whether the layout map that is passed is used."
)

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
class WeightsSeen:
    """The values of the loaded model by path, and whether it has a preprocessor."""

    values: dict[str, np.ndarray]
    has_preprocessor: bool


@dataclass(frozen=True)
class OptionsSeen:
    """What the options of the call have changed."""

    dtypes: list[str]
    #: The first row of the embeddings.
    row: np.ndarray
    #: Keras' global dtype policy after the call.
    policy: str


@dataclass(frozen=True)
class Row:
    """A row of a sharding table."""

    #: As it is returned.
    shown: str
    #: What is wrong with its types; empty if it is a string and two tuples or lists.
    fault: str = ""
    path: str = ""
    shape: tuple[Any, ...] = ()
    spec: Spec = ()


def observe_distribution(submission: Submission) -> list[Outcome[LoadedSeen]]:
    """Distribution and placement after the model is loaded over two meshes, one after the other."""
    return [_load(submission, mesh, _loaded) for mesh in _two_meshes()]


def judge_distribution(outcomes: list[Outcome[LoadedSeen]]) -> None:
    """Each distribution is the expected one, and all variables are placed as it says."""
    meshes = _two_meshes()
    assert len(outcomes) == len(meshes), "the model was not loaded over both meshes"
    loaded = [returned(outcome) for outcome in outcomes]
    for number, (seen, mesh) in enumerate(zip(loaded, meshes, strict=True)):
        found = seen.distribution
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
            raise Failed("LOADING_NO_DISTRIBUTION", _why_none(seen, wrong), columns, rows)
        if not found.is_model_parallel:
            raise Failed("LOADING_WRONG_DISTRIBUTION", f"The distribution is a {found.kind}.", columns, rows)
        _judge_settings(loaded, number, mesh, (columns, rows))
        if wrong:
            raise Failed("LOADING_DISTRIBUTION_TOO_LATE", _why_elsewhere(seen, wrong), columns, rows)


def _two_meshes() -> list[keras.distribution.DeviceMesh]:
    """With a batch axis where there are enough devices; the second has the axis "model" first.

    So the default of ``batch_dim_name``, the first axis, is wrong on the second, and what the first
    call leaves behind is wrong for the second call.
    """
    batch, model = sharding_meshes()[-1]
    names = keras.distribution.list_devices()
    return [oracle.device_mesh(batch, model), keras.distribution.DeviceMesh((model, batch), ["model", "batch"], names)]


def _why_none(seen: LoadedSeen, wrong: list[str]) -> str:
    if not wrong:
        return f"No distribution is set after {FUNCTION}: the variables are sharded, but it did not stay set."
    where = "are on one device" if _on_one_device(seen, wrong) else "are not placed as the layout map says"
    return f"No distribution is set after {FUNCTION}, and {len(wrong)} of {len(seen.variables)} variables {where}."


def _why_elsewhere(seen: LoadedSeen, wrong: list[str]) -> str:
    number = f"{len(wrong)} of {len(seen.variables)} variables"
    if _on_one_device(seen, wrong):
        return f"The right distribution is set, but {number} are on one device: they were created before it was set."
    return f"The right distribution is set, but {number} are sharded in another way: they were created under another."


def _on_one_device(seen: LoadedSeen, paths: list[str]) -> bool:
    return all(path in seen.variables and seen.variables[path].spec is None for path in paths)


def _judge_settings(
    loaded: list[LoadedSeen], number: int, mesh: keras.distribution.DeviceMesh, evidence: tuple[tuple, list[tuple]]
) -> None:
    """The ModelParallel of a call has the expected settings; otherwise each wrong one is named."""
    columns, rows = evidence
    found, shape = loaded[number].distribution, tuple(map(int, mesh.shape))
    assert found is not None
    causes, remedies = [], []
    if number and found == loaded[0].distribution and found.mesh_shape != shape:
        causes.append("The second call, with another layout map, leaves the distribution of the first call set.")
        remedies.append("Set a new distribution at each call.")
    elif found.mesh_shape != shape:
        causes.append(f"The mesh has the shape {found.mesh_shape}, and that of the layout map is {shape}.")
        remedies.append("Let ModelParallel take the mesh from the layout map.")
    if found.batch_dim_name != "batch" and not causes:
        causes.append(_why_batch_dim_name(found.batch_dim_name, number))
        remedies.append('Pass batch_dim_name="batch".')
    if found.auto_shard_dataset:
        causes.append(
            "auto_shard_dataset is True, which is its default: it was not passed, or its name is misspelled. "
            "ModelParallel ignores keywords that it does not know."
        )
        remedies.append("Pass auto_shard_dataset=False.")
    layout = found.layout or {}
    other = [path for path, spec in SPECS.items() if layout.get(path) != spec]
    if other and not number:
        causes.append(f"The distribution has another layout map than the one that is passed. {OTHER_LAYOUT}")
        remedies.append("Pass the given layout map to ModelParallel.")
    rows = [
        *rows,
        ("batch_dim_name", "batch", found.batch_dim_name),
        ("auto_shard_dataset", False, found.auto_shard_dataset),
        ("mesh", shape, found.mesh_shape),
        *((f"layout of {path}", SPECS[path], layout.get(path)) for path in other[:1]),
    ]
    if causes or other:
        raise Failed(
            "LOADING_WRONG_DISTRIBUTION",
            " ".join(causes) or "The ModelParallel has another layout map than the one that is passed.",
            columns,
            rows,
            " ".join(remedies),
        )


def _why_batch_dim_name(name: str, number: int) -> str:
    if not number:
        return f'batch_dim_name is "{name}", and the batch is to be split over the axis "batch" of the mesh.'
    return (
        f'With a mesh whose first axis is "{name}", the batch is split over "{name}". That is the default: '
        "batch_dim_name was not passed, or its name is misspelled. ModelParallel ignores keywords that it does not "
        "know."
    )


def observe_weights(submission: Submission) -> Outcome[WeightsSeen]:
    """The values of the loaded model by path."""
    return _load(
        submission,
        oracle.device_mesh(*mesh_shapes()[0]),
        lambda model: WeightsSeen(
            small_models.values(model.backbone.variables), getattr(model, "preprocessor", None) is not None
        ),
    )


def judge_weights(outcome: Outcome[WeightsSeen]) -> None:
    """The values are those of the preset, loaded here without a distribution."""
    plain, seen = small_models.values(small_models.bundled_model().backbone.variables), returned(outcome)
    loaded = seen.values
    assert len(plain) == 38, "the bundled model has another number of variables"
    wrong = [path for path in plain if path not in loaded or not np.array_equal(plain[path], loaded[path])]
    if wrong:
        path = wrong[0]
        mine = f"{loaded[path].ravel()[0]:.6f}" if path in loaded else "missing"
        rows = [(path, f"{plain[path].ravel()[0]:.6f}", mine)]
        columns = ("variable", "first value in the preset", "yours")
        number = f"{len(wrong)} of {len(plain)} variables"
        if dtype := _rounded_to(plain, loaded):
            raise Failed(
                "LOADING_WEIGHTS_MISSING",
                f"{number} have the values of the preset, rounded to {dtype}: the call asks for no dtype.",
                columns,
                rows,
                "Set no dtype of your own: it belongs to the caller, in **from_preset_options.",
            )
        cause = f"{number} do not have the values of the preset, not even rounded."
        raise Failed("LOADING_WEIGHTS_MISSING", cause, columns, rows)
    if not seen.has_preprocessor:
        cause = "The model has no preprocessor: it cannot take texts."
        raise Failed("LOADING_NO_PREPROCESSOR", cause, ("", "expected", "yours"), [("preprocessor", "one", "None")])


def _rounded_to(plain: dict[str, np.ndarray], loaded: dict[str, np.ndarray]) -> str:
    """The dtype that the values were rounded to; empty if they are others."""
    for dtype in (ml_dtypes.bfloat16, np.float16):
        rounded = {path: values.astype(dtype).astype(np.float32) for path, values in plain.items()}
        if all(path in loaded and np.array_equal(rounded[path], loaded[path]) for path in plain):
            return np.dtype(dtype).name
    return ""


def observe_options(submission: Submission) -> Outcome[OptionsSeen]:
    """A model that is loaded with ``dtype="bfloat16"`` and without weights."""

    def options(model: keras_hub.models.CausalLM) -> OptionsSeen:
        dtypes = sorted({str(variable.dtype) for variable in model.backbone.variables})
        values = small_models.values([model.backbone.token_embedding.embeddings])[EMBEDDINGS]
        return OptionsSeen(dtypes, values[0].astype(np.float32), keras.config.dtype_policy().name)

    mesh = oracle.device_mesh(*mesh_shapes()[0])
    return _load(submission, mesh, options, dtype="bfloat16", load_weights=False)


def judge_options(outcome: Outcome[OptionsSeen]) -> None:
    """All variables are bfloat16, and the weights are not those of the preset."""
    found = returned(outcome)
    preset = small_models.values(small_models.bundled_model().backbone.variables)[EMBEDDINGS][0]
    loaded = bool(np.allclose(preset, found.row, rtol=0.01))
    dtypes = ", ".join(found.dtypes)
    rows = [
        ("variables", "bfloat16", dtypes),
        ("weights of the preset", "not loaded", "loaded" if loaded else "not loaded"),
    ]
    ignored = ['dtype="bfloat16"'] * (dtypes != "bfloat16") + ["load_weights=False"] * loaded
    if ignored:
        cause = f"{FUNCTION} ignores {' and '.join(ignored)}, which the caller passes."
        raise Failed("LOADING_OPTIONS_IGNORED", cause, ("", "expected", "yours"), rows)
    if found.policy != "float32":
        raise Failed(
            "NOT_AS_EXPECTED",
            f"{FUNCTION} changes Keras' global dtype policy, and so every layer that is made later.",
            ("", "before the call", "after it"),
            [("keras.config.dtype_policy()", "float32", found.policy)],
            "Pass the options on to `from_preset`: they are for this model alone.",
        )


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
        expected = {}
        for variable in backbone.get_layer(name).variables:
            spec = _moved_spec(variable.path)
            expected[variable.path] = (tuple(variable.shape), spec + (None,) * (len(variable.shape) - len(spec)))
        assert expected, f"{name} has no variables"
        found = returned(tables[name])
        for judge in (_judge_types, _judge_paths, _judge_shapes, _judge_table_specs):
            judge(name, found, expected)


_COLUMNS = ("what", "expected", "yours")
_Expected: TypeAlias = dict[str, tuple[tuple[int, ...], Spec]]


def _judge_types(name: str, found: list[Row], expected: _Expected) -> None:
    faulty = [row for row in found if row.fault]
    if faulty:
        paths = [row.path if row.path in expected else next(iter(expected)) for row in faulty[:3]]
        raise Failed(
            "SHARDING_TABLE_WRONG",
            f"{len(faulty)} of {len(found)} rows of the table of {name} are not (path, shape, spec): "
            f"{faulty[0].fault}.",
            _COLUMNS,
            [("a row", repr((path, *expected[path])), row.shown) for path, row in zip(paths, faulty, strict=False)],
            "Append tuples of three: the path as a string, the shape as a tuple, and the spec as a tuple.",
        )


def _judge_paths(name: str, found: list[Row], expected: _Expected) -> None:
    """There is a row for each variable, and no other."""
    counts = Counter(row.path for row in found)
    missing = [path for path in expected if not counts[path]]
    unknown = [path for path in counts if path not in expected]
    twice = [path for path, count in counts.items() if count > 1 and path in expected]
    number, rows = f"of {len(expected)} variables of {name}", [("rows", str(len(expected)), str(len(found)))]
    if unknown:
        names = {path.rpartition("/")[2] for path in missing}
        short = set(unknown) <= names
        cause = (
            f"The table of {name} has {len(unknown)} paths that the layer does not have, for example {unknown[0]!r}"
            + (": that is the name of a variable, and not its path." if short else ".")
        )
        rows += [("path", path, yours) for path, yours in zip(missing, unknown, strict=False)][:4]
        raise Failed("SHARDING_TABLE_WRONG", cause, _COLUMNS, rows, "Take the path from variable.path.")
    if missing:
        cause = f"The table has no row for {len(missing)} {number}, for example {missing[0]}."
        rows += [("path", path, "-") for path in missing[:4]]
        raise Failed("SHARDING_TABLE_WRONG", cause, _COLUMNS, rows, "Append a row for each of layer.variables.")
    if twice:
        cause = f"The table has several rows for {len(twice)} {number}, for example {twice[0]}."
        rows += [(f"rows of {path}", "1", str(counts[path])) for path in twice[:4]]
        raise Failed("SHARDING_TABLE_WRONG", cause, _COLUMNS, rows, "Append one row for each variable.")


def _judge_shapes(name: str, found: list[Row], expected: _Expected) -> None:
    wrong = [row for row in found if row.shape != expected[row.path][0]]
    if wrong:
        sizes = dict(zip(("batch", "model"), mesh_with_batch_axis(), strict=True))
        of_shards = all(
            row.shape == tuple(size // sizes.get(axis, 1) for size, axis in zip(*expected[row.path], strict=True))
            for row in wrong
        )
        cause = f"{len(wrong)} of {len(found)} rows of the table of {name} have another shape than the variable"
        cause += ": that of the shard on one device." if of_shards else "."
        rows = [(f"shape of {row.path}", expected[row.path][0], row.shape) for row in wrong[:4]]
        raise Failed("SHARDING_TABLE_WRONG", cause, _COLUMNS, rows, "Take the shape from variable.shape.")


def _judge_table_specs(name: str, found: list[Row], expected: _Expected) -> None:
    wrong = [row for row in found if row.spec != expected[row.path][1]]
    if not wrong:
        return
    planned = {row.path: _full(oracle.TENSOR_PARALLEL.get(oracle.kind_of(row.path) or "", ()), row) for row in wrong}
    cause = f"{len(wrong)} of {len(found)} rows of the table of {name} have another spec than the array"
    remedy = "Read variable.value.sharding.spec."
    if all(row.spec == expected[row.path][1][: len(row.spec)] and len(row.spec) < len(row.shape) for row in wrong):
        cause += ": they have fewer entries than dimensions."
        remedy = "JAX leaves out trailing Nones: append them until the spec is as long as the shape."
    elif all(row.spec == _filled_in_front(expected[row.path][1]) for row in wrong):
        cause += ": the Nones that JAX leaves out at the end are added in front."
        remedy = "The first entry belongs to the first dimension: append None at the end."
    elif all(_full(row.spec, row) == planned[row.path] for row in wrong):
        cause += ": they are those of the layout map, and this test has moved the arrays."
    else:
        cause += "."
    rows = [(f"spec of {row.path}", expected[row.path][1], row.spec) for row in wrong[:4]]
    raise Failed("SHARDING_TABLE_WRONG", cause, _COLUMNS, rows, remedy)


def _filled_in_front(spec: Spec) -> Spec:
    """The spec with its last Nones, which JAX leaves out, before the other entries."""
    named = len(spec)
    while named and spec[named - 1] is None:
        named -= 1
    return (None,) * (len(spec) - named) + spec[:named]


def _full(spec: Spec, row: Row) -> Spec:
    return spec + (None,) * (len(row.shape) - len(spec))


def _load(
    submission: Submission,
    mesh: keras.distribution.DeviceMesh,
    reads: Callable[[keras_hub.models.CausalLM], Value],
    **options: Any,
) -> Outcome[Value]:
    """Load the bundled model over a mesh, with the layout SPECS."""
    layout_map = keras.distribution.LayoutMap(mesh)
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
    shown = repr(tuple(row)) if isinstance(row, list | tuple) else repr(row)
    if not isinstance(row, list | tuple) or len(row) != 3:
        return Row(shown, "a row has three entries")
    path, shape, spec = row
    for what, value, wanted in (("path", path, str), ("shape", shape, (list, tuple)), ("spec", spec, (list, tuple))):
        if not isinstance(value, wanted):
            # JAX names the class of specs P.
            kind = "PartitionSpec" if isinstance(value, jax.sharding.PartitionSpec) else type(value).__name__
            return Row(shown, f"the {what} is a {kind}", path if isinstance(path, str) else "")
    return Row(shown, "", path, tuple(map(_plain, shape)), tuple(map(_plain, spec)))


def _plain(entry: Any) -> Any:
    """An entry of a shape or a spec as data."""
    if isinstance(entry, (list, tuple)):
        return tuple(map(_plain, entry))
    if entry is None or isinstance(entry, str):
        return entry
    return int(entry) if isinstance(entry, (int, np.integer)) else repr(entry)
