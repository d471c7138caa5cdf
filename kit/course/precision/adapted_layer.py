"""A layer with an adapter in float64, and the judgement of a solution's outputs for it."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kit.checks.diagnosis import Failed
from kit.course.precision.rounding import effect_kept, rounded
from kit.formatting import format_share
from kit.judge.observation import Outcome, Returned, Stopped, returned
from kit.judge.submission import Submission

#: Size of a small update: mean of the adapter's product divided by the mean of the kernel. bfloat16
#: distinguishes numbers that differ by 1/256.
SMALL = 1e-3
#: The share of a small update that must be kept. Over 5 seeds, noise of rounding changes the figure
#: by up to 0.042; a sum in bfloat16 keeps 0.6.
KEPT = 0.9
#: Largest error of outputs divided by the largest output, with an adapter as large as the kernel: a
#: little more than half of 1/128.
ERROR = 0.006


@dataclass(frozen=True)
class AdaptedLayer:
    """A layer with an adapter, in float64."""

    name: str
    equation: str
    inputs: np.ndarray
    kernel: np.ndarray
    lora_a: np.ndarray
    lora_b: np.ndarray
    scale: float

    @cached_property
    def base(self) -> np.ndarray:
        """Outputs without the adapter."""
        return np.einsum(self.equation, self.inputs, self.kernel)

    @cached_property
    def change(self) -> np.ndarray:
        """What the adapter adds to the outputs; here A and B are multiplied first."""
        return np.einsum(self.equation, self.inputs, self.product)

    @property
    def product(self) -> np.ndarray:
        """What the adapter adds to the kernel."""
        return self.scale * self.lora_a @ self.lora_b

    def with_adapter_of(self, size: float) -> "AdaptedLayer":
        """Scale B: ``size`` is the mean size of the product divided by that of the kernel."""
        current = np.abs(self.product).mean() / np.abs(self.kernel).mean()
        # B is a float32 variable.
        lora_b = (self.lora_b * (size / current)).astype("float32").astype("float64")
        return replace(self, lora_b=lora_b)


@dataclass(frozen=True)
class OutputsSeen:
    """Outputs of a layer with a large adapter, and with a small one."""

    large: Outcome[np.ndarray]
    #: None in float32, where no small update is lost.
    slight: Outcome[np.ndarray] | None
    #: Dtypes of the factors of the largest matrix products, sorted; empty if there is none.
    products: tuple[tuple[str, str], ...] = ()


def compute_outputs(
    submission: Submission,
    function: str,
    layer: AdaptedLayer,
    dtype: str,
    compute: Callable[[AdaptedLayer, Any], Any],
) -> OutputsSeen:
    """Outputs of a layer that computes in ``dtype``; ``compute`` calls the solution's function.

    It gets the layer and the inputs, which are traced to see what is multiplied.
    """
    inputs = jnp.asarray(layer.inputs, dtype)

    def outcome(size: float) -> Outcome[np.ndarray]:
        try:
            outputs = compute(layer.with_adapter_of(size), inputs)
            if not hasattr(outputs, "dtype") or not hasattr(outputs, "shape"):
                submission.expect_type(function, outputs, jax.Array)
            return Returned(np.asarray(outputs))
        except Failed as failed:
            return Stopped(failed.diagnosis)

    large, slight = outcome(1.0), None if dtype == "float32" else outcome(SMALL)
    products: tuple[tuple[str, str], ...] = ()
    # What cannot be traced fails in training, and the check of gradients says so.
    with contextlib.suppress(Exception):
        products = _largest_products(jax.make_jaxpr(lambda inputs: compute(layer, inputs))(inputs).jaxpr)
    return OutputsSeen(large, slight, products)


def _largest_products(program: Any) -> tuple[tuple[str, str], ...]:
    """The dtypes of the factors of the largest matrix products of a traced program."""
    sizes: dict[tuple[str, str], int] = {}
    for equation in _equations(program):
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, right = (variable.aval for variable in equation.invars)
            size = math.prod(equation.outvars[0].aval.shape) * math.prod(left.shape[axis] for axis in contracted)
            dtypes = str(left.dtype), str(right.dtype)
            sizes[dtypes] = max(size, sizes.get(dtypes, 0))
    return tuple(sorted(dtypes for dtypes, size in sizes.items() if size == max(sizes.values())))


def _equations(program: Any) -> Iterator[Any]:
    """All equations of a traced program, and of the programs within it."""
    for equation in program.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def expect_outputs(seen: OutputsSeen, layer: AdaptedLayer, dtype: str, wrong_code: str) -> float:
    """Make sure that outputs are right with a large adapter, and keep a small one.

    Returns the lost share of the small update. ``wrong_code`` is for outputs that are wrong in any
    dtype.
    """
    large = layer.with_adapter_of(1.0)
    found, exact = returned(seen.large), large.base + large.change
    _expect_array(found, layer, dtype, wrong_code)
    tolerance = ERROR if dtype == "bfloat16" else 1e-5

    def error(values: np.ndarray) -> float:
        return float(np.abs(found.astype("float64") - values).max() / np.abs(values).max())

    if not error(exact) < tolerance:
        factor = effect_kept(large.change, large.base, found)
        made = next((form for form, values in _wrong_forms(large).items() if error(values) < tolerance), "")
        cause = f"The outputs of {layer.name} are not x W + scale (x A) B" + (f", but {made}." if made else ".")
        rows = [
            ("largest error / largest output", f"below {tolerance:g}", f"{error(exact):.3g}"),
            ("the adapter, times", f"{1:.3f}", f"{factor:.3f}"),
        ]
        raise Failed(wrong_code, cause, ("", "expected", "yours"), rows)
    if dtype == "bfloat16" and seen.products and (dtype, dtype) not in seen.products:
        cause = f"Inputs and kernel of {layer.name} are multiplied in {seen.products[0][1]}, and not in {dtype}."
        rows = [("inputs", dtype, seen.products[0][0]), ("kernel", dtype, seen.products[0][1])]
        raise Failed("PRECISION_FLOAT32_PRODUCT", cause, ("largest matrix product", "expected", "yours"), rows)
    if seen.slight is None:
        return 0.0
    slight, outputs = layer.with_adapter_of(SMALL), returned(seen.slight).astype("float64")
    share = effect_kept(slight.change, slight.base, outputs)
    if not KEPT <= share <= 2 - KEPT:
        cause = f"Of an update of {SMALL:g} of the kernel, the outputs of {layer.name} keep {share:.2f} instead of all."
        raise Failed("PRECISION_UPDATE_LOST", cause, ("", "expected", "yours"), _lost_rows(slight, outputs, share))
    return abs(1 - share)


def _wrong_forms(layer: AdaptedLayer) -> dict[str, np.ndarray]:
    """What the usual mistakes compute instead."""
    base, change, scale = layer.base, layer.change, layer.scale
    forms = {
        "x W: the adapter is missing": base,
        "x W + (x A) B: the scale is missing": base + change / scale,
        "x W + scale² (x A) B: the scale is applied twice": base + scale * change,
        "x W + lora_alpha (x A) B: lora_alpha is not divided by lora_rank": base + layer.lora_a.shape[-1] * change,
        "scale (x W + (x A) B): the scale multiplies x W too": scale * base + change,
        "x W + 2 scale (x A) B: the adapter is added twice": base + 2 * change,
        "scale (x A) B: x W is missing": change,
    }
    if layer.kernel.ndim == 3:
        # The first dimension of Gemma's attention kernels is that of the heads.
        averaged = replace(layer, lora_a=np.broadcast_to(layer.lora_a.mean(0), layer.lora_a.shape))
        forms["A is averaged over the heads, which have one A each"] = base + averaged.change
        forms["the adapter is the mean over the heads, and not their sum"] = base + change / len(layer.kernel)
    return forms


def _expect_array(found: np.ndarray, layer: AdaptedLayer, dtype: str, wrong_code: str) -> None:
    shape = layer.base.shape
    if found.shape != shape:
        cause = f"The outputs of {layer.name} have another shape."
        raise Failed(wrong_code, cause, ("expected", "yours"), [(shape, found.shape)])
    if str(found.dtype) != dtype:
        nbytes = round(np.prod(shape)) * jnp.dtype(dtype).itemsize
        cause = f"The outputs of {layer.name} do not have the dtype of its inputs."
        rows = [("dtype", dtype, found.dtype), ("bytes", nbytes, found.nbytes)]
        raise Failed("PRECISION_WRONG_DTYPE", cause, ("", "expected", "yours"), rows)


def _lost_rows(layer: AdaptedLayer, outputs: np.ndarray, share: float) -> list[tuple[str, str, str]]:
    """The kept share, and how many outputs are those of the usual forms."""
    in_kernel = np.einsum(layer.equation, layer.inputs, rounded(layer.kernel + layer.product))
    forms = {
        "rounded once": layer.base + layer.change,
        "as the adapter added to the kernel": in_kernel,
        "as the adapter added to rounded outputs": rounded(layer.base) + rounded(layer.change),
    }
    rows = [("kept share of the small update", f"{1:.2f}", f"{share:.2f}")]
    for form, values in forms.items():
        expected = format_share(1.0) if form == "rounded once" else ""
        rows.append((f"outputs {form}", expected, format_share(float(np.mean(outputs == rounded(values))))))
    return rows
