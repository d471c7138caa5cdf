"""A check of training: a model has the same losses on each mesh as on one device."""

import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kit.checks.codes import COMMON_CODES
from kit.checks.diagnosis import Failed
from kit.checks.failure import raises_check_failed
from kit.checks.layout import cover, judge_rules
from kit.checks.tables import Row
from kit.formatting import format_tuple

if TYPE_CHECKING:
    import keras

    from kit.evidence.device_order import OrderedRun
    from kit.evidence.invariance import Trajectory
    from kit.evidence.placement import Placement
    from kit.evidence.resumption import SavedRun

    LayoutMapFor = Callable[[keras.distribution.DeviceMesh], keras.distribution.LayoutMap]

Shape = tuple[int, int]


@raises_check_failed
def check_mesh_invariance(
    make_model: Callable[[], "keras.Model"],
    batch: Any,
    layout_map_for: "LayoutMapFor",
    meshes: Sequence[Shape] = ((1, 8), (2, 4), (8, 1)),
    *,
    rtol: float | None = None,
    steps: int = 2,
    seed: int = 0,
    axis_names: tuple[str, str] = ("batch", "model"),
) -> tuple[float, ...]:
    """Check that the first losses on a batch are the same on each mesh as on one device.

    The check builds and trains the model on one device without a distribution, and again under
    ModelParallel on each mesh. It sets the distribution and Keras' seed. Afterwards no distribution
    is set, whatever happens.

    Args:
        make_model: Builds and compiles a new model; one that is not built yet is called on the
            batch. The check sets Keras' seed before each call, so
            that Keras' initializers give the same model each time; seed any other random numbers in
            this function.
        batch: What ``model.train_on_batch`` takes: a tuple (x, y) or (x, y, sample_weight), or x
            alone, such as a list of texts for a KerasHub task with its preprocessor. Each mesh's
            first size must divide the number of examples.
        layout_map_for: Makes the layout map for a device mesh.
        meshes: Sizes of the two axes. A mesh that is smaller than the number of devices takes the
            first ones.
        rtol: The largest difference of a loss, relative to that on one device. By default that of
            the dtype that the model computes in: 1e-5 for float32, 5e-4 for float16, and 2e-3 for
            bfloat16, also with mixed precision.
        steps: How many training steps to compare. The loss of a step is taken before it changes the
            weights, so two steps show the effect of one.
        seed: For ``keras.utils.set_random_seed``.
        axis_names: Of the mesh; the batch is sharded over the first.

    Returns:
        The losses on one device.

    Raises:
        CheckFailed: NOTHING_TO_CHECK (no mesh, or one with too few devices or a single one; a step
            that changes the loss by no more than ``rtol``; a layout map that shards nothing),
            LOSS_NOT_FINITE, MODEL_NOT_REPRODUCIBLE, LOADING_DISTRIBUTION_TOO_LATE (``make_model``
            returns a model that it built before), LAYOUT_RULES_OVERLAP, LAYOUT_SPEC_DOES_NOT_FIT,
            LAYOUT_AXIS_DOES_NOT_DIVIDE, LOSS_DEPENDS_ON_MESH.
    """
    from kit.evidence.invariance import train

    if steps < 2:
        raise ValueError(f"steps must be at least 2, not {steps}: a single step does not show the effect of training")
    shapes = [(int(first), int(second)) for first, second in meshes]
    require_meshes(shapes)
    require_examples(shapes, batch)
    train_on = functools.partial(train, make_model, batch, steps=steps, seed=seed)
    twin = train_on(layout_map=None)
    require_devices(twin.placements, 1, "one device")
    tolerance = Tolerance.of(twin, rtol)
    _require_losses(twin, tolerance)
    # Judge all layout maps before any mesh computes: the diagnostic then names the wrong rule.
    layout_maps = {shape: _layout_map(layout_map_for, shape, axis_names, twin) for shape in shapes}
    runs = {shape: _run_on_mesh(train_on, layout_map, twin) for shape, layout_map in layout_maps.items()}
    _judge_losses(twin, runs, tolerance)
    return twin.losses


#: Compute dtype -> the largest relative difference of a loss. A sum over devices is added up in
#: another order, and each dtype rounds by its own steps: 1.2e-7, 9.8e-4 and 7.8e-3.
TOLERANCES = {"float64": 1e-5, "float32": 1e-5, "float16": 5e-4, "bfloat16": 2e-3}


@dataclass(frozen=True)
class Tolerance:
    """How much the losses of two meshes may differ."""

    rtol: float
    #: The dtype that it is for; empty if the caller chose it.
    dtype: str

    @classmethod
    def of(cls, twin: "Trajectory | SavedRun | OrderedRun", rtol: float | None) -> "Tolerance":
        """The caller's, or that of the coarsest dtype that a layer computes in."""
        if rtol is not None:
            return cls(rtol, "")
        # An integer layer, such as a lookup, rounds nothing.
        known = [dtype for dtype in twin.compute_dtypes if dtype in TOLERANCES]
        coarsest = max(known, key=lambda dtype: TOLERANCES[dtype], default="float32")
        return cls(TOLERANCES[coarsest], coarsest)

    def __str__(self) -> str:
        of = f", that of {self.dtype}, which the model computes in" if self.dtype else ""
        return f"the relative tolerance of {self.rtol:g}{of}"


def require_meshes(shapes: Sequence[Shape]) -> None:
    """Raises ``Failed`` without a mesh, or if one has too few or too many devices."""
    import keras

    count = len(keras.distribution.list_devices())
    wrong = [shape for shape in shapes if not 1 < math.prod(shape) <= count or min(shape) < 1]
    if not shapes or wrong:
        what = f"The mesh {format_tuple(wrong[0])} needs {math.prod(wrong[0])} devices" if wrong else "No mesh is given"
        raise Failed(
            "NOTHING_TO_CHECK",
            f"{what}; JAX sees {count}, and a mesh must have at least 2.",
            remedy="Put `simulated_devices = 8` into pytest's ini file, or choose other meshes.",
        )


def require_examples(shapes: Sequence[Shape], batch: Any) -> None:
    """Raises ``Failed`` unless the first size of each mesh divides the number of examples."""
    examples = _examples(batch)
    remedy = "Choose a number of examples that each mesh's first size divides."
    if not examples:
        raise Failed("NOTHING_TO_CHECK", "The batch has 0 examples.", remedy=remedy)
    uneven = [shape for shape in shapes if examples % shape[0]]
    if uneven:
        raise Failed(
            "LAYOUT_AXIS_DOES_NOT_DIVIDE",
            f"The batch has {examples} examples, which the mesh {format_tuple(uneven[0])} cannot "
            f"split into {uneven[0][0]} "
            "equal parts.",
            remedy=remedy,
        )


def _examples(batch: Any) -> int:
    """The number of examples in x alone, or in a tuple that begins with x."""
    x = batch[0] if isinstance(batch, tuple) else batch
    while isinstance(x, dict):
        x = next(iter(x.values()))
    # A list of inputs of a functional model, and not a list of texts.
    if isinstance(x, (list, tuple)) and x and hasattr(x[0], "shape") and x[0].shape:
        x = x[0]
    return len(x)


def _require_losses(twin: "Trajectory", tolerance: Tolerance) -> None:
    """The losses on one device are finite, and training changes them."""
    row = ("one device", *(f"{loss:.8g}" for loss in twin.losses))
    evidence = (("mesh", *_headings(twin)), [row])
    if not all(map(math.isfinite, twin.losses)):
        raise Failed(
            "LOSS_NOT_FINITE",
            "A loss on one device is not finite, so that no mesh can be compared with it.",
            *evidence,
            remedy="Check the batch (labels in range, at least one example with a weight) and the loss.",
        )
    if not any(abs(later - twin.losses[0]) > tolerance.rtol * abs(twin.losses[0]) for later in twin.losses[1:]):
        raise Failed(
            "NOTHING_TO_CHECK",
            f"Training on one device changes the loss by no more than {tolerance}: the steps show nothing.",
            *evidence,
            remedy="Compile with a larger learning rate, and check that some variables are trainable.",
        )


def _headings(twin: "Trajectory") -> list[str]:
    return ["loss", *(f"after {step} step{'s' if step > 1 else ''}" for step in range(1, len(twin.losses)))]


def make_layout_map(
    layout_map_for: "LayoutMapFor", shape: Shape, axis_names: tuple[str, str], order: Sequence[int] | None = None
) -> "keras.distribution.LayoutMap":
    """The layout map for a mesh of this shape, over the first devices, or over these.

    Raises TypeError if it is not a layout map of this mesh.
    """
    import keras

    names = keras.distribution.list_devices()
    devices = [names[number] for number in order or range(math.prod(shape))]
    mesh = keras.distribution.DeviceMesh(shape, list(axis_names), devices)
    layout_map = layout_map_for(mesh)
    if not isinstance(layout_map, keras.distribution.LayoutMap) or layout_map.device_mesh is not mesh:
        raise TypeError("layout_map_for must return a keras.distribution.LayoutMap of the device mesh that it is given")
    return layout_map


def _layout_map(
    layout_map_for: "LayoutMapFor", shape: Shape, axis_names: tuple[str, str], twin: "Trajectory"
) -> "keras.distribution.LayoutMap":
    """The layout map for a mesh of this shape, judged on the variables of the twin."""
    layout_map = make_layout_map(layout_map_for, shape, axis_names)
    coverage, _ = cover(layout_map, twin.variables)
    judge_rules(coverage, layout_map, every_rule_matches=False)
    outputs = any(rule.outputs and any(rule.spec) for rule in coverage.rules)
    if len(coverage.replicated) == len(twin.variables) and shape[1] > 1 and not outputs:
        raise Failed(
            "NOTHING_TO_CHECK",
            f"On the mesh {format_tuple(shape)} the layout map shards none of the model's "
            f"{len(twin.variables)} variables.",
            ("rule", "variables"),
            [(rule.pattern, len(rule.paths)) for rule in coverage.rules],
            "Compare its rules with the model's paths (check_layout_coverage).",
        )
    return layout_map


def _run_on_mesh(
    train_on: "Callable[..., Trajectory]", layout_map: "keras.distribution.LayoutMap", twin: "Trajectory"
) -> "Trajectory":
    """Train on the layout map's mesh, from the values that the twin starts with."""
    run, shape = train_on(layout_map=layout_map), layout_map.device_mesh.shape
    require_devices(run.placements, math.prod(shape), f"the mesh {format_tuple(shape)}")
    _require_same_start(twin, run, shape)
    return run


def require_devices(placements: "Sequence[Placement]", devices: int, where: str) -> None:
    """The weights are on all devices that compute with them, and on no others."""
    elsewhere = [placement for placement in placements if placement.device_count != devices]
    if elsewhere:
        raise Failed(
            "LOADING_DISTRIBUTION_TOO_LATE",
            f"{len(elsewhere)} of the {len(placements)} weights of the model for {where} are on other devices.",
            ("for example", "devices", "expected"),
            [(placement.path, placement.device_count, devices) for placement in elsewhere[:3]],
            "Build a new model at each call of make_model: a variable gets its layout when it is created.",
        )


def _require_same_start(twin: "Trajectory", run: "Trajectory", shape: Shape) -> None:
    """The model on a mesh has the same initial values as the one on one device."""
    same_number = len(twin.variables) == len(run.variables)
    different = twin.first_difference(run) if same_number else None
    if same_number and not different:
        return
    rows: list[Row] = [("variables", len(twin.variables), len(run.variables))]
    if different:
        rows.append((different[0].path, "", f"differs by up to {different[1]:.3g}"))
    raise Failed(
        "MODEL_NOT_REPRODUCIBLE",
        f"make_model builds another model for the mesh {format_tuple(shape)} than for one device: they differ before "
        "training.",
        ("", "one device", f"mesh {format_tuple(shape)}"),
        rows,
        "In make_model, draw from Keras' random numbers, seed other random numbers, or load the same weights.",
    )


def _judge_losses(twin: "Trajectory", runs: "Mapping[Shape, Trajectory]", tolerance: Tolerance) -> None:
    rows: list[Row] = [("one device", *(f"{loss:.8g}" for loss in twin.losses), "")]
    wrong = []
    for shape, run in runs.items():
        differences = [
            abs(loss - expected) / max(abs(expected), sys.float_info.min)
            for loss, expected in zip(run.losses, twin.losses, strict=True)
        ]
        # Written so that NaN is too large.
        if not all(difference <= tolerance.rtol for difference in differences):
            wrong.append(format_tuple(shape))
        worst = max(differences, key=lambda difference: math.inf if math.isnan(difference) else difference)
        rows.append((format_tuple(shape), *(f"{loss:.8g}" for loss in run.losses), f"{worst:.1e}"))
    if wrong:
        raise Failed(
            "LOSS_DEPENDS_ON_MESH",
            f"On the mesh{'es' if len(wrong) > 1 else ''} {' and '.join(wrong)} a loss differs from that on one device "
            f"by more than {tolerance}.",
            ("mesh", *_headings(twin), "relative difference"),
            rows,
            _REMEDY if tolerance.rtol <= TOLERANCES["float32"] else f"{_IN_FLOAT32} {_REMEDY}",
        )


_REMEDY = COMMON_CODES["LOSS_DEPENDS_ON_MESH"].remedy
_IN_FLOAT32 = "Build the model in float32 first, where only a real dependence is left."
