"""A layer with an adapter in float64, and the judgement of a solution's outputs for it."""

from collections.abc import Callable
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


def compute_outputs(
    submission: Submission, function: str, layer: AdaptedLayer, dtype: str, compute: Callable[[AdaptedLayer], Any]
) -> OutputsSeen:
    """Outputs of a layer that computes in ``dtype``; ``compute`` calls the solution's function."""

    def outcome(size: float) -> Outcome[np.ndarray]:
        try:
            outputs = compute(layer.with_adapter_of(size))
            if not hasattr(outputs, "dtype") or not hasattr(outputs, "shape"):
                submission.expect_type(function, outputs, jax.Array)
            return Returned(np.asarray(outputs))
        except Failed as failed:
            return Stopped(failed.diagnosis)

    return OutputsSeen(outcome(1.0), None if dtype == "float32" else outcome(SMALL))


def expect_outputs(seen: OutputsSeen, layer: AdaptedLayer, dtype: str, wrong_code: str) -> float:
    """Make sure that outputs are right with a large adapter, and keep a small one.

    Returns the lost share of the small update. ``wrong_code`` is for outputs that are wrong in any
    dtype.
    """
    large = layer.with_adapter_of(1.0)
    found, exact = returned(seen.large), large.base + large.change
    _expect_array(found, layer, dtype, wrong_code)
    error = float(np.abs(found.astype("float64") - exact).max() / np.abs(exact).max())
    tolerance = ERROR if dtype == "bfloat16" else 1e-5
    if not error < tolerance:
        factor = effect_kept(large.change, large.base, found)
        cause = f"The outputs of {layer.name} are not x W + scale (x A) B."
        rows = [
            ("largest error / largest output", f"below {tolerance:g}", f"{error:.3g}"),
            ("the adapter, times", f"{1:.3f}", f"{factor:.3f}"),
        ]
        raise Failed(wrong_code, cause, ("", "expected", "yours"), rows)
    if seen.slight is None:
        return 0.0
    slight, outputs = layer.with_adapter_of(SMALL), returned(seen.slight).astype("float64")
    share = effect_kept(slight.change, slight.base, outputs)
    if not KEPT <= share <= 2 - KEPT:
        cause = f"Of an update of {SMALL:g} of the kernel, the outputs of {layer.name} keep {share:.2f} instead of all."
        raise Failed("PRECISION_UPDATE_LOST", cause, ("", "expected", "yours"), _lost_rows(slight, outputs, share))
    return abs(1 - share)


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
