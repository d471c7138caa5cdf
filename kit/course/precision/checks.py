"""Checks of the exercise ``precision``: sums in float64 that are rounded by hand, and a twin in float32."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import keras_hub
import ml_dtypes
import numpy as np

from kit.course.shared import small_models as small
from kit.course.shared import unsharded_twin as twin
from kit.course.shared.meshes import mesh_shapes
from kit.checks.diagnosis import Failed
from kit.judge.submission import Submission
from kit.narrator import as_share

RANK = 3
#: The adapter's product beside the kernel, mean beside mean, where an update is small: bfloat16 tells numbers apart from 1/256 on.
SMALL = 1e-3
#: Of a small update, this much must arrive. Over 5 seeds noise of rounding moved the figure by up to 0.042; a sum in bfloat16 has 0.6.
KEPT = 0.9
#: Largest error of outputs, in parts of the largest output, with an adapter as large as the kernel: half of 1/128, and some.
ERROR = 0.006
#: What Gemma's layers compute: query, key and value, the attention's output, the feed-forward. Sizes are pairwise different.
EQUATIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "btd,ndh->btnh": ((4, 24, 40), (16, 40, 12)),
    "bsd,kdh->bskh": ((4, 24, 40), (8, 40, 12)),
    "btnh,nhd->btd": ((4, 24, 16, 12), (16, 12, 40)),
    "btd,df->btf": ((4, 24, 40), (40, 56)),
}


# Shares.


@dataclass(frozen=True)
class _Sum:
    """Something small that is added to something large."""

    what: str
    kernel: np.ndarray
    update: np.ndarray


def shares(submission: Submission) -> None:
    """The share of entries that stay, for usual kernels, signs, ties and powers of two."""
    rows, wrong = [], False
    for case in _sums():
        expected = float(np.mean(rounded(case.kernel.astype("float64") + case.update) == case.kernel))
        found = submission.call("share_unchanged", case.kernel.copy(), case.update.copy())
        found = _as_number(submission, "share_unchanged", found)
        wrong |= not abs(found - expected) < 1e-6
        rows.append((case.what, f"{expected:.4f}", f"{found:.4f}"))
    if wrong:
        raise Failed(
            "PRECISION_WRONG_SHARE",
            "share_unchanged gives other shares than sums in float64 that are rounded to eight significant bits.",
            ("kernel and update", "expected", "yours"),
            rows,
        )


def rounded(values: np.ndarray) -> np.ndarray:
    """The nearest numbers with eight significant bits, of two that are as near that with the even significand; float64."""
    significand, exponent = np.frexp(values)
    # A significand is below 1, so that 256 of it is a number of eight bits before the point. rint takes the even neighbour.
    return np.ldexp(np.rint(significand * 256), exponent - 8)


def _sums() -> Iterator[_Sum]:
    random = np.random.default_rng(small.seed())
    kernel = rounded(random.normal(0, 0.02, (48, 56))).astype("float32")
    for size in (1e-4, 1e-3, 1e-2):
        update = random.normal(0, size * np.abs(kernel).mean(), kernel.shape)
        yield _Sum(f"normal numbers, update {size:g} of them", kernel, _held_exactly(kernel, update))
    # Below a power of two numbers lie twice as close as above it.
    powers = np.ldexp(np.float32(1), np.arange(-12, 12)).astype("float32")
    for sign in (1, -1):
        way = "away from zero" if sign > 0 else "towards zero"
        yield _Sum(f"powers of two, a third of the distance {way}", powers, (sign * powers / 384).astype("float32"))
    steps = (1 + np.arange(1, 64) / 128).astype("float32")
    yield _Sum("half of the distance to the next number", steps, np.full_like(steps, 1 / 256))
    yield _Sum("the same, of negative numbers", -steps, np.full_like(steps, -1 / 256))
    tiny = (steps * 2.0**-100).astype("float32")
    yield _Sum("a third of the distance, tiny numbers", tiny, (tiny / tiny * 2.0**-100 / 384).astype("float32"))


def _held_exactly(kernel: np.ndarray, update: np.ndarray) -> np.ndarray:
    """The update with which the sum is a number of float32, so that it makes no difference in what it is added up."""
    return ((kernel + update).astype("float32").astype("float64") - kernel).astype("float32")


# Effects.


def effects(submission: Submission) -> None:
    """The factor of the change, whatever noise there is beside it."""
    random = np.random.default_rng(small.seed())
    for what, size, noise, share, dtype in (
        ("all of it, no noise", 1.0, 0.0, 1.0, "float64"),
        ("a third of it, and noise ten times as large", 1e-2, 0.1, 1 / 3, "float64"),
        ("outputs in bfloat16, a change of 1e-3", 1e-3, 0.0, 1.0, "bfloat16"),
        ("outputs in bfloat16 that turn their sign", 2.0, 0.0, -1.0, "bfloat16"),
    ):
        before = np.abs(random.normal(1, 0.2, (24, 56)))
        change = size * random.normal(1 if size > 1 else 0, 1, before.shape)
        beside = noise * random.normal(0, 1, before.shape)
        # Nothing of it points where the change points, so that the right figure is known beforehand.
        beside -= change * np.vdot(beside, change) / np.vdot(change, change)
        after = before + share * change + beside
        kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
        before, after = before.astype(kind), after.astype(kind)
        found = submission.call("effect_kept", change.copy(), before.copy(), after.copy())
        _expect_effect(_as_number(submission, "effect_kept", found), what, change, before, after)


def _expect_effect(found: float, what: str, change: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
    seen = (after.astype("float64") - before.astype("float64")).ravel()
    by = change.ravel()
    expected = kept(change, before, after)
    # float32 would do as well, and errs by 1e-6.
    if abs(found - expected) <= 1e-5 * max(1.0, abs(expected)):
        return
    rows = [("least squares, in float64", f"{expected:.6f}"), ("yours", f"{found:.6f}")]
    ratio = float(np.linalg.norm(seen) / np.linalg.norm(by))
    others = {
        "how large what is seen is, in parts of the change": (ratio, float(np.abs(seen).mean() / np.abs(by).mean())),
        "a correlation": (expected / ratio,),
        "a mean of quotients": (float(np.mean(seen / by)),),
    }
    for other, values in others.items():
        for value in values:
            if abs(found - value) <= 1e-5 * max(1.0, abs(value)):
                code = (
                    "PRECISION_NOISE_COUNTED"
                    if value in (ratio, *next(iter(others.values())))
                    else "PRECISION_WRONG_EFFECT"
                )
                raise Failed(
                    code,
                    f"effect_kept gives another figure ({what}): {other}.",
                    ("", "k"),
                    [*rows, (other, f"{value:.6f}")],
                )
    raise Failed("PRECISION_WRONG_EFFECT", f"effect_kept gives another figure ({what}).", ("", "k"), rows)


def kept(change: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """The factor of the change in what is seen: NumPy's least squares."""
    seen = after.astype("float64") - before.astype("float64")
    return float(np.linalg.lstsq(change.reshape(-1, 1), seen.ravel(), rcond=None)[0][0])


# Outputs.


#: Function -> the code for outputs that are not those of any dtype.
_WRONG = {"adapted_outputs": "PRECISION_WRONG_OUTPUTS", "add_adapters_in_float32": "PRECISION_WRONG_LAYER"}


@dataclass(frozen=True)
class _Layer:
    """A layer with an adapter, in float64."""

    what: str
    equation: str
    inputs: np.ndarray
    kernel: np.ndarray
    lora_a: np.ndarray
    lora_b: np.ndarray
    scale: float

    @property
    def base(self) -> np.ndarray:
        """Outputs without the adapter."""
        return np.einsum(self.equation, self.inputs, self.kernel)

    @property
    def change(self) -> np.ndarray:
        """What the adapter adds: here it is multiplied out."""
        return np.einsum(self.equation, self.inputs, self.scale * self.lora_a @ self.lora_b)

    def with_adapter_of(self, size: float) -> "_Layer":
        """With B such that the product is of this size beside the kernel, mean beside mean; 0 for none."""
        now = np.abs(self.scale * self.lora_a @ self.lora_b).mean() / np.abs(self.kernel).mean()
        # B is kept in float32.
        lora_b = (self.lora_b * (size / now)).astype("float32").astype("float64")
        return _Layer(self.what, self.equation, self.inputs, self.kernel, self.lora_a, lora_b, self.scale)


def outputs(submission: Submission) -> None:
    """Outputs of Gemma's layers are rounded once, in the dtype of the inputs, and a small update arrives."""
    random = np.random.default_rng(small.seed())
    for equation, (inputs_shape, kernel_shape) in EQUATIONS.items():
        # What is computed in, and what the kernel is kept in: bfloat16, and for one kind of layer mixed_bfloat16 and float32 too.
        others = (("bfloat16", "float32"), ("float32", "float32")) if equation == next(iter(EQUATIONS)) else ()
        for compute, keep in (("bfloat16", "bfloat16"), *others):
            layer = _Layer(
                f'"{equation}" in {compute}, kernel in {keep}',
                equation,
                _as(random.normal(size=inputs_shape), compute),
                # Multiplied in the dtype of the inputs, whatever it is kept in.
                _as(random.normal(0, 1 / np.sqrt(kernel_shape[-2]), kernel_shape), compute),
                _as(random.normal(0, 0.1, (*kernel_shape[:-1], RANK)), "float32"),
                _as(random.normal(0, 0.1, (RANK, kernel_shape[-1])), "float32"),
                2.0,
            )

            def compute_outputs(layer: _Layer, compute: str = compute, keep: str = keep) -> Any:
                return submission.call(
                    "adapted_outputs",
                    layer.equation,
                    jnp.asarray(layer.inputs, compute),
                    jnp.asarray(layer.kernel, keep),
                    jnp.asarray(layer.lora_a, "float32"),
                    jnp.asarray(layer.lora_b, "float32"),
                    layer.scale,
                )

            _judge(submission, "adapted_outputs", layer, compute, compute_outputs)


def _judge(
    submission: Submission, function: str, layer: _Layer, dtype: str, compute_outputs: Callable[[_Layer], Any]
) -> None:
    """Outputs are right with a large adapter, and keep a small one."""
    large = layer.with_adapter_of(1.0)
    found = compute_outputs(large)
    _expect_array(submission, function, found, large, dtype)
    exact = large.base + large.change
    error = float(np.abs(np.asarray(found, "float64") - exact).max() / np.abs(exact).max())
    tolerance = ERROR if dtype == "bfloat16" else 1e-5
    if not error < tolerance:
        factor = kept(large.change, large.base, np.asarray(found, "float64"))
        raise Failed(
            _WRONG[function],
            f"The outputs of {layer.what} are others than x W + scale (x A) B.",
            ("", "expected", "yours"),
            [
                ("largest error, in parts of the largest output", f"below {tolerance:g}", f"{error:.3g}"),
                ("the adapter, times", f"{1:.3f}", f"{factor:.3f}"),
            ],
        )
    if dtype == "float32":
        return
    slight = layer.with_adapter_of(SMALL)
    seen = np.asarray(compute_outputs(slight), "float64")
    share = kept(slight.change, slight.base, seen)
    submission.measure("small update lost", abs(1 - share))
    if KEPT <= share <= 2 - KEPT:
        return
    rows = [
        ("of the small update arrive", f"{1:.2f}", f"{share:.2f}"),
        (
            "outputs that are rounded as one sum would be",
            as_share(1.0),
            as_share(_same(seen, rounded(slight.base + slight.change))),
        ),
    ]
    in_kernel = np.einsum(
        layer.equation, layer.inputs, rounded(layer.kernel + layer.scale * slight.lora_a @ slight.lora_b)
    )
    afterwards = rounded(slight.base) + rounded(slight.change)
    for form, values in (
        ("as the adapter added to the kernel", in_kernel),
        ("as the adapter added to rounded outputs", afterwards),
    ):
        rows.append((f"outputs {form}", "", as_share(_same(seen, rounded(values)))))
    raise Failed(
        "PRECISION_UPDATE_LOST",
        f"Of an update of {SMALL:g} of the kernel, {layer.what} gives {share:.2f} and not all.",
        ("", "expected", "yours"),
        rows,
    )


def _expect_array(submission: Submission, function: str, found: Any, layer: _Layer, dtype: str) -> None:
    shape = layer.base.shape
    if not hasattr(found, "dtype") or not hasattr(found, "shape"):
        submission.expect_type(function, found, jax.Array)
    if tuple(found.shape) != shape:
        raise Failed(
            _WRONG[function],
            f"The outputs of {layer.what} have another shape.",
            ("expected", "yours"),
            [(shape, tuple(found.shape))],
        )
    if str(found.dtype) != dtype:
        raise Failed(
            "PRECISION_WRONG_DTYPE",
            f"The outputs of {layer.what} are in another dtype than it computes in.",
            ("", "expected", "yours"),
            [("dtype", dtype, found.dtype), ("bytes", round(np.prod(shape)) * jnp.dtype(dtype).itemsize, found.nbytes)],
        )


def _same(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.mean(first == second))


def _as(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values that the dtype holds exactly, in float64."""
    return rounded(values) if dtype == "bfloat16" else values.astype(dtype).astype("float64")


# Layers of a model.


def layers(submission: Submission) -> None:
    """On a mesh, each layer with LoRA computes so; variables stay what and where they were."""
    small.set_distribution(*mesh_shapes()[0])
    model = small.small_model(rank=RANK, dtype="bfloat16", num_layers=1)
    before = {variable.path: _described(variable) for variable in model.variables}
    values = small.values(model.variables)
    submission.call("add_adapters_in_float32", model)
    after = {variable.path: _described(variable) for variable in model.variables}
    changed = [path for path in before if after.get(path) != before[path]]
    changed += [path for path in after if path not in before]
    found = small.values(model.variables)
    changed += [path for path in values if path in found and not np.array_equal(values[path], found[path])]
    if changed:
        raise Failed(
            "PRECISION_VARIABLES_CHANGED",
            f"After add_adapters_in_float32, {len(set(changed))} variables of the model are not what they were.",
            ("variable", "before", "after"),
            [(path, before.get(path, "none"), after.get(path, "none")) for path in list(dict.fromkeys(changed))[:4]],
        )
    adapted = [
        layer for layer in model.backbone._flatten_layers(include_self=False) if getattr(layer, "lora_enabled", False)
    ]
    assert len(adapted) == 2, "the small model has LoRA on query and value"
    random = np.random.default_rng(small.seed())
    inputs = rounded(random.normal(size=(4, 24, model.backbone.hidden_dim)))
    for layer in adapted:
        # Another factor than 1 before the product.
        layer.lora_alpha = 2 * layer.lora_rank
        kernel, lora_a, lora_b = (
            np.asarray(variable.value, "float64")
            for variable in (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b)
        )
        described = _Layer(layer.path, layer.equation, inputs, kernel, lora_a, lora_b, 2.0)

        def compute_outputs(described: _Layer, layer: keras.layers.Layer = layer) -> Any:
            layer.lora_kernel_b.assign(described.lora_b.astype("float32"))
            return submission.wrap("add_adapters_in_float32", layer)(jnp.asarray(described.inputs, "bfloat16"))

        _judge(submission, "add_adapters_in_float32", described, "bfloat16", compute_outputs)


def _described(variable: keras.Variable) -> str:
    trained = "trained" if variable.trainable else "frozen"
    return f"{variable.dtype}, {trained}, {tuple(variable.shape)}"


def gradients(submission: Submission) -> None:
    """The gradients of adapters in bfloat16 point where those of a twin in float32 do."""
    texts = small.texts(8, seed=small.seed())
    small.set_distribution(*mesh_shapes()[-2])
    model = small.small_model(rank=RANK, dtype="bfloat16", num_layers=1)
    submission.call("add_adapters_in_float32", model)
    batch = twin.tokenized(model, texts)
    found = submission.wrap("add_adapters_in_float32", lambda: _gradients(model, batch))()
    exact = small.small_model(rank=RANK, num_layers=1)
    for ours, theirs in zip(exact.variables, model.variables, strict=True):
        ours.assign(np.asarray(theirs.value, "float32"))
    expected = _gradients(exact, batch)
    rows, wrong = [], False
    for path, right in expected.items():
        mine = found[path]
        length = float(np.linalg.norm(mine) / np.linalg.norm(right))
        cosine = float(np.vdot(mine, right) / max(np.linalg.norm(mine) * np.linalg.norm(right), 1e-30))
        submission.measure("cosine of a gradient below 1", 1 - cosine)
        submission.measure("length of a gradient off 1", abs(1 - length))
        wrong |= not (cosine > COSINE and abs(length - 1) < LENGTH)
        rows.append((path, f"{cosine:.4f}", f"{length:.4f}"))
    if wrong:
        raise Failed(
            "PRECISION_GRADIENT_LOST",
            "The gradients of adapters are not those of the same model in float32.",
            ("variable", f"cosine, above {COSINE}", "length, about 1"),
            rows,
        )


#: Over 5 seeds cosines were above 0.99996, and lengths within 0.005.
COSINE, LENGTH = 0.999, 0.02


def _gradients(model: keras_hub.models.CausalLM, batch: tuple[Any, Any, Any]) -> dict[str, np.ndarray]:
    x, y, sample_weight = batch

    @jax.jit
    def gradient(trainable: list, rest: list) -> list:
        def loss(trainable: list) -> Any:
            logits, _ = model.stateless_call(trainable, rest, x, training=True)
            return twin.cross_entropy(logits.astype("float32"), x, y, sample_weight)

        return jax.grad(loss)(trainable)

    values = gradient(
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
    )
    paths = [variable.path for variable in model.trainable_variables]
    assert len(paths) == 4, "the small model has LoRA on query and value"
    return {path: np.asarray(value, "float64") for path, value in zip(paths, values, strict=True)}


def _as_number(submission: Submission, function: str, value: Any) -> float:
    if isinstance(value, bool) or np.ndim(value) or not isinstance(value, (int, float, np.number)):
        submission.expect_type(function, value, float)
    return float(value)
