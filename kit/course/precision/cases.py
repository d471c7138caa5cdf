"""What the functions of the exercise are tried on: sums, changes of outputs, and layers."""

from collections.abc import Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from kit.course.precision.adapted_layer import AdaptedLayer
from kit.course.precision.rounding import representable, rounded
from kit.course.shared import small_models

#: Rank of all adapters.
RANK = 3
#: Factor of all adapters: neither 1, as Keras has it, nor 2, as of an adapter that is added twice.
#: Its square is not `lora_alpha`, which is the factor times the rank.
SCALE = 4.0
#: Equation -> shapes of inputs and kernel. These are Gemma's layers: query, key and value,
#: attention output, feed-forward. Sizes are pairwise different.
EQUATIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "btd,ndh->btnh": ((4, 24, 40), (16, 40, 12)),
    "bsd,kdh->bskh": ((4, 24, 40), (8, 40, 12)),
    "btnh,nhd->btd": ((4, 24, 16, 12), (16, 12, 40)),
    "btd,df->btf": ((4, 24, 40), (40, 56)),
}


@dataclass(frozen=True)
class Sum:
    """A small update that is added to a kernel."""

    name: str
    kernel: np.ndarray
    update: np.ndarray


@dataclass(frozen=True)
class Change:
    """Outputs before and after a change of the weights."""

    name: str
    #: By how much the outputs should change.
    change: np.ndarray
    before: np.ndarray
    after: np.ndarray


def sums() -> Iterator[Sum]:
    """Usual kernels, powers of two, ties, negative and tiny numbers."""
    random = np.random.default_rng(small_models.seed())
    kernel = rounded(random.normal(0, 0.02, (48, 56))).astype("float32")
    for size in (1e-4, 1e-3, 1e-2):
        update = random.normal(0, size * np.abs(kernel).mean(), kernel.shape)
        # The sum is a number of float32, so that all dtypes from float32 on give the same sum.
        exact = ((kernel + update).astype("float32").astype("float64") - kernel).astype("float32")
        yield Sum(f"normal numbers, update {size:g} of them", kernel, exact)
    # Numbers below a power of two are twice as close as numbers above it.
    powers = np.ldexp(np.float32(1), np.arange(-12, 12)).astype("float32")
    for sign, direction in ((1, "away from zero"), (-1, "towards zero")):
        update = (sign * powers / 384).astype("float32")
        yield Sum(f"powers of two, a third of the distance {direction}", powers, update)
    steps = (1 + np.arange(1, 64) / 128).astype("float32")
    yield Sum("half of the distance to the next number", steps, np.full_like(steps, 1 / 256))
    yield Sum("the same, of negative numbers", -steps, np.full_like(steps, -1 / 256))
    tiny = (steps * 2.0**-100).astype("float32")
    yield Sum("a third of the distance, tiny numbers", tiny, (tiny / tiny * 2.0**-100 / 384).astype("float32"))
    yield Sum("two thirds of the distance, tiny numbers", tiny, (tiny / tiny * 2.0**-100 / 192).astype("float32"))


def changes() -> Iterator[Change]:
    """Changes with and without noise, of outputs in float64 and bfloat16."""
    random = np.random.default_rng(small_models.seed())
    for name, size, noise, share, dtype in (
        ("all of it, no noise", 1.0, 0.0, 1.0, np.dtype("float64")),
        ("a third of it, and noise ten times as large", 1e-2, 0.1, 1 / 3, np.dtype("float64")),
        ("outputs in bfloat16, a change of 1e-3", 1e-3, 0.0, 1.0, np.dtype(ml_dtypes.bfloat16)),
        ("outputs in bfloat16 that change their sign", 2.0, 0.0, -1.0, np.dtype(ml_dtypes.bfloat16)),
    ):
        before = np.abs(random.normal(1, 0.2, (24, 56)))
        change = size * random.normal(1 if size > 1 else 0, 1, before.shape)
        rest = noise * random.normal(0, 1, before.shape)
        # The noise is orthogonal to the change, so that the right number is known.
        rest -= change * np.vdot(rest, change) / np.vdot(change, change)
        after = before + share * change + rest
        yield Change(name, change, before.astype(dtype), after.astype(dtype))
    # The differences, 2 + 3/128 and 2 + 11/128, are in the middle between two numbers of bfloat16.
    before, after = 1 + np.array([1, 5]) / 128, -1 - np.array([2, 6]) / 128
    bfloat16 = np.dtype(ml_dtypes.bfloat16)
    yield Change("two outputs in bfloat16", after - before, before.astype(bfloat16), after.astype(bfloat16))


def layers() -> Iterator[tuple[AdaptedLayer, str, str]]:
    """Layers of Gemma, with the dtype that they compute in and the dtype of their kernel."""
    random = np.random.default_rng(small_models.seed())
    for equation, (inputs_shape, kernel_shape) in EQUATIONS.items():
        # One layer also in mixed_bfloat16 and in float32.
        others = (("bfloat16", "float32"), ("float32", "float32")) if equation == next(iter(EQUATIONS)) else ()
        for compute_dtype, storage_dtype in (("bfloat16", "bfloat16"), *others):
            layer = AdaptedLayer(
                f'"{equation}" in {compute_dtype}, kernel in {storage_dtype}',
                equation,
                representable(random.normal(size=inputs_shape), compute_dtype),
                # Multiplied in the dtype of the inputs, whatever its own dtype.
                representable(random.normal(0, 1 / np.sqrt(kernel_shape[-2]), kernel_shape), compute_dtype),
                representable(random.normal(0, 0.1, (*kernel_shape[:-1], RANK)), "float32"),
                representable(random.normal(0, 0.1, (RANK, kernel_shape[-1])), "float32"),
                SCALE,
            )
            yield layer, compute_dtype, storage_dtype
