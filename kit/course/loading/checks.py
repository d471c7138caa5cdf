"""Checks of the exercise ``loading``."""

from itertools import zip_longest
from typing import Any

import jax
import keras
import keras_hub
import numpy as np

from kit.course.shared import tensor_parallel as oracle
from kit.course.shared import small_models as small
from kit.course.shared.meshes import mesh_shapes, sharding_meshes
from kit.checks.diagnosis import Failed
from kit.judge.submission import Submission
from kit.models.presets import BUNDLED_FOLDER

FUNCTION = "load_distributed"
BLOCKS = 4
#: Matrices whose arrays are moved to another spec than the layout's.
TURNED = ("ffw_gating/kernel", "ffw_linear/kernel")


def _layout_map(batch: int, model: int) -> tuple[keras.distribution.LayoutMap, dict[str, tuple]]:
    """A layout that is not the course's in one place, so that it can be seen whether the one given is used."""
    kinds = [kind for kind in oracle.TENSOR_PARALLEL if kind != "token_embedding/embeddings"]
    paths = [f"decoder_block_{block}/{kind}" for block in range(BLOCKS) for kind in kinds]
    layout_map = oracle.tensor_parallel_map(oracle.device_mesh(batch, model), paths)
    layout_map["token_embedding/embeddings"] = (None, "model")
    return layout_map, {path: tuple(layout_map[path].axes) for path in (*paths, "token_embedding/embeddings")}


def _load(
    submission: Submission, layout_map: keras.distribution.LayoutMap, **options: Any
) -> keras_hub.models.CausalLM:
    return submission.call(FUNCTION, str(BUNDLED_FOLDER), layout_map, returns=keras_hub.models.CausalLM, **options)


def _full_spec(variable: keras.Variable) -> tuple | None:
    """The spec of the array, None if it lies on no mesh."""
    sharding = variable.value.sharding
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return None
    spec = tuple(sharding.spec)
    return spec + (None,) * (len(variable.shape) - len(spec))


def distribution(submission: Submission) -> None:
    """The distribution is set before the model is made, is the right one, and stays set."""
    # With a batch axis where there is room for one, so that the axes cannot be taken for each other.
    for batch, model in sharding_meshes()[-1:]:
        layout_map, specs = _layout_map(batch, model)
        loaded = _load(submission, layout_map)
        found = keras.distribution.distribution()
        variables = {variable.path: variable for variable in loaded.backbone.variables}
        assert specs.keys() <= variables.keys(), "the bundled model has other paths"
        placed = {path: _full_spec(variable) for path, variable in variables.items()}
        wrong = [path for path in variables if placed[path] != specs.get(path, (None,) * len(variables[path].shape))]
        example = wrong[0] if wrong else "token_embedding/embeddings"
        rows = [
            ("distribution", "ModelParallel", "none" if found is None else type(found).__name__),
            (example, specs.get(example), placed[example] or "one device"),
            ("variables in place", len(variables), len(variables) - len(wrong)),
        ]
        evidence = (("", "expected", "found"), rows)
        if found is None:
            raise Failed("LOADING_NO_DISTRIBUTION", f"After {FUNCTION} no distribution is set.", *evidence)
        if not isinstance(found, keras.distribution.ModelParallel):
            raise Failed(
                "LOADING_WRONG_DISTRIBUTION", f"The distribution that is set is a {type(found).__name__}.", *evidence
            )
        rows += [
            ("batch_dim_name", "batch", found.batch_dim_name),
            ("auto_shard_dataset", False, found.auto_shard_dataset),
            ("mesh", (batch, model), tuple(found.device_mesh.shape)),
        ]
        planned = {path: tuple(found.get_variable_layout(variables[path]).axes) for path in specs}
        other = [path for path, spec in specs.items() if planned[path] != spec]
        if other:
            rows.append((f"layout of {other[0]}", specs[other[0]], planned[other[0]]))
        if (
            found.batch_dim_name != "batch"
            or found.auto_shard_dataset
            or other
            or tuple(found.device_mesh.shape) != (batch, model)
        ):
            raise Failed(
                "LOADING_WRONG_DISTRIBUTION", "The ModelParallel that is set is not the one asked for.", *evidence
            )
        if wrong:
            raise Failed(
                "LOADING_DISTRIBUTION_TOO_LATE",
                f"{len(wrong)} of {len(variables)} variables are not where the distribution that is now set says.",
                *evidence,
            )


def weights(submission: Submission) -> None:
    """The weights are those of the preset."""
    plain = small.values(small.bundled_model().backbone.variables)
    batch, model = mesh_shapes()[0]
    loaded = small.values(_load(submission, _layout_map(batch, model)[0]).backbone.variables)
    assert len(plain) == 38, "the bundled model has another number of variables"
    wrong = [path for path in plain if path not in loaded or not np.array_equal(plain[path], loaded[path])]
    if wrong:
        path = wrong[0]
        mine = f"{loaded[path].ravel()[0]:.6f}" if path in loaded else "not there"
        raise Failed(
            "LOADING_WEIGHTS_MISSING",
            f"{len(wrong)} of {len(plain)} variables do not have the values of the preset.",
            ("variable", "its first value in the preset", "yours"),
            [(path, f"{plain[path].ravel()[0]:.6f}", mine)],
        )


def options(submission: Submission) -> None:
    """Options such as dtype reach from_preset."""
    batch, model = mesh_shapes()[0]
    loaded = _load(submission, _layout_map(batch, model)[0], dtype="bfloat16")
    dtypes = {str(variable.dtype) for variable in loaded.backbone.variables}
    if dtypes != {"bfloat16"}:
        raise Failed(
            "LOADING_OPTIONS_IGNORED",
            f'{FUNCTION}(…, dtype="bfloat16") made a model with other variables.',
            ("expected", "yours"),
            [("bfloat16", ", ".join(sorted(dtypes)))],
        )


def table(submission: Submission) -> None:
    """The table has path, shape and spec of each variable, as its array says."""
    batch, model = mesh_shapes()[-2] if len(mesh_shapes()) > 2 else mesh_shapes()[0]
    small.set_distribution(batch, model)
    loaded = small.small_model(rank=0, num_layers=1)
    # Arrays that are elsewhere than was planned, and specs as JAX itself writes them, without trailing Nones.
    placed: dict[str, tuple[str | None, ...]] = {}
    alone = loaded.backbone.get_layer("final_normalization").variables[0]
    for variable in loaded.backbone.variables:
        kind = oracle.kind_of(variable.path)
        turned = oracle.TENSOR_PARALLEL[kind][::-1] if kind in TURNED else oracle.TENSOR_PARALLEL.get(kind or "", ())
        sharding: jax.sharding.Sharding = jax.sharding.NamedSharding(
            variable.value.sharding.mesh, jax.sharding.PartitionSpec(*_shortened(turned))
        )
        if variable is alone:
            # As Keras leaves it where there is one device: a sharding without a spec.
            sharding, turned = jax.sharding.SingleDeviceSharding(jax.devices()[0]), ()
        variable._value = jax.device_put(variable.value, sharding)
        placed[variable.path] = turned + (None,) * (len(variable.shape) - len(turned))
    for name in ("decoder_block_0", "token_embedding", "final_normalization"):
        layer = loaded.backbone.get_layer(name)
        expected = [
            (
                variable.path,
                tuple(variable.shape),
                placed[variable.path],
            )
            for variable in layer.variables
        ]
        assert expected, f"{name} has no variables"
        rows = submission.call("sharding_table", layer, returns=(list, tuple))
        found = [tuple(row) if isinstance(row, list | tuple) else row for row in rows]
        comparable = [
            (str(row[0]), tuple(row[1]), tuple(row[2]))
            if isinstance(row, tuple)
            and len(row) == 3
            and all(isinstance(item, list | tuple | jax.sharding.PartitionSpec) for item in row[1:])
            else row
            for row in found
        ]
        if sorted(map(repr, comparable)) != sorted(map(repr, expected)):
            rows = [
                (position, *_differing(right, row))
                for position, (row, mine, right) in enumerate(zip_longest(found, comparable, expected))
                if mine != right
            ]
            raise Failed(
                "SHARDING_TABLE_WRONG",
                f"In the table of {name} {len(rows)} of {len(expected)} rows are not what the arrays say.",
                ("row", "what", "expected", "yours"),
                rows,
            )


def _differing(expected: tuple | None, found: Any) -> tuple[str, str, str]:
    """What differs of two rows: where path and shape are right, the spec alone."""
    if expected and isinstance(found, tuple) and len(found) == 3 and (str(found[0]), found[1]) == expected[:2]:
        return f"spec of {expected[0]}", repr(expected[2]), repr(found[2])
    return "the row", repr(expected) if expected else "-", repr(found) if found is not None else "-"


def _shortened(spec: tuple[str | None, ...]) -> tuple[str | None, ...]:
    while spec and spec[-1] is None:
        spec = spec[:-1]
    return spec
