"""Rounding to bfloat16 in float64 arithmetic, and the oracles of shares and effects."""

import numpy as np


def rounded(values: np.ndarray) -> np.ndarray:
    """The nearest numbers with eight significant bits, ties to the even significand; float64."""
    significand, exponent = np.frexp(values)
    # A significand is below 1, so 256 times it has eight bits before the point.
    # rint rounds ties to even.
    return np.ldexp(np.rint(significand * 256), exponent - 8)


def representable(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values that the dtype represents exactly, in float64."""
    return rounded(values) if dtype == "bfloat16" else values.astype(dtype).astype("float64")


def share_unchanged(kernel: np.ndarray, update: np.ndarray) -> float:
    """The share of entries that equal the rounded sum of entry and update."""
    return float(np.mean(rounded(kernel.astype("float64") + update) == kernel))


def effect_kept(change: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """The factor k that fits ``after - before = k * change`` best, by NumPy's least squares."""
    seen = after.astype("float64") - before.astype("float64")
    return float(np.linalg.lstsq(change.reshape(-1, 1), seen.ravel(), rcond=None)[0][0])
