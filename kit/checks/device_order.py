"""A check that nothing depends on the order of the devices in a mesh."""

import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kit.checks.diagnosis import Failed
from kit.checks.failure import raises_check_failed
from kit.checks.invariance import Shape, Tolerance, make_layout_map, require_devices, require_examples, require_meshes
from kit.checks.tables import Row, limited
from kit.formatting import format_bytes, format_tuple

if TYPE_CHECKING:
    import keras

    from kit.checks.invariance import LayoutMapFor
    from kit.evidence.device_order import OrderedRun

#: Positions in the list of devices, in the order of the mesh.
Order = tuple[int, ...]


@raises_check_failed
def check_device_order(
    make_model: Callable[[], "keras.Model"],
    batch: Any,
    layout_map_for: "LayoutMapFor",
    mesh: Shape = (2, 4),
    orders: Sequence[Sequence[int]] = (),
    *,
    rtol: float | None = None,
    steps: int = 2,
    seed: int = 0,
    axis_names: tuple[str, str] = ("batch", "model"),
) -> tuple[Order, ...]:
    """Check that collectives, bytes and losses do not depend on the order of a mesh's devices.

    A mesh of the same shape is made of the same devices in several orders, as another topology or
    ``create_device_mesh`` would arrange them. In each order the model must have the same initial
    values, the same bytes per device, collectives of the same kinds, numbers and bytes in its
    training step, and losses that agree within ``rtol``. The programs may differ otherwise, and do
    on TPUs.

    It costs for each order a model, two compilations of its step, and ``steps`` steps. The
    collectives are those that XLA makes for simulated devices.

    Args:
        make_model: Builds and compiles a new model; the check sets Keras' seed before.
        batch: What ``model.train_on_batch`` takes.
        layout_map_for: Makes the layout map for a device mesh.
        mesh: Sizes of the two axes.
        orders: Each has the numbers of the devices in the order of the mesh. By default the axes
            of the mesh are also swapped, and the devices shuffled.
        rtol: Of losses. By default that of the compute dtype, 1e-5 for float32.
        steps: How many losses are compared.
        seed: For ``keras.utils.set_random_seed``.
        axis_names: Of the mesh; the batch is sharded over the first.

    Returns:
        The orders that were compared.

    Raises:
        CheckFailed: NOTHING_TO_CHECK, LAYOUT_AXIS_DOES_NOT_DIVIDE, LOADING_DISTRIBUTION_TOO_LATE,
            DEVICE_ORDER_CHANGES_VALUES, DEVICE_ORDER_CHANGES_PROGRAM, DEVICE_ORDER_CHANGES_LOSSES.
    """
    from kit.evidence.device_order import run_in_order

    shape = int(mesh[0]), int(mesh[1])
    require_meshes([shape])
    require_examples([shape], batch)
    chosen = _orders(shape, orders)
    runs: dict[Order, OrderedRun] = {}
    for order in chosen:
        layout_map = make_layout_map(layout_map_for, shape, axis_names, order)
        runs[order] = run_in_order(make_model, batch, layout_map, _compile, steps, seed)
        require_devices(runs[order].placements, math.prod(shape), f"the mesh {format_tuple(shape)}")
    _judge_values(runs)
    _judge_programs(runs)
    _judge_losses(runs, Tolerance.of(runs[chosen[0]], rtol))
    return tuple(chosen)


def _compile(lowered: Any) -> str:
    return lowered.compile().as_text()


def _orders(shape: Shape, orders: Sequence[Sequence[int]]) -> list[Order]:
    count = math.prod(shape)
    if orders:
        chosen = list(dict.fromkeys(tuple(int(number) for number in order) for order in orders))
        wrong = [order for order in chosen if len(set(order)) != count or min(order) < 0]
        if wrong:
            raise ValueError(f"an order has each of {count} numbers of devices once, not {list(wrong[0])}")
    else:
        first = list(range(count))
        swapped = [row * shape[1] + column for column in range(shape[1]) for row in range(shape[0])]
        shuffled = random.Random(0).sample(first, count)
        chosen = list(dict.fromkeys(map(tuple, (first, swapped, shuffled))))
    if len(chosen) < 2:
        raise Failed("NOTHING_TO_CHECK", "A single order is given.", remedy="Give two orders at least, or none.")
    return chosen


def _shown(order: Order) -> str:
    return " ".join(map(str, order))


def _judge_values(runs: "Mapping[Order, OrderedRun]") -> None:
    import numpy as np

    (first, expected), *others = runs.items()
    for order, run in others:
        names = [
            one for one in expected.values if one not in run.values or _differ(expected.values[one], run.values[one])
        ]
        if not names and len(run.values) == len(expected.values):
            continue
        alike = [
            one
            for one in names
            if one in run.values and np.array_equal(np.sort(expected.values[one], None), np.sort(run.values[one], None))
        ]
        same = len(alike) == len(names) and names
        raise Failed(
            "DEVICE_ORDER_CHANGES_VALUES",
            f"Before training, {len(names)} variable{'s have' if names[1:] else ' has'} other values if the "
            f"devices are in the order {_shown(order)}" + (": the same numbers, in other places." if same else "."),
            ("variable", f"begins with, in order {_shown(first)}", f"in order {_shown(order)}"),
            limited([(one, _beginning(expected.values[one]), _beginning(run.values.get(one))) for one in names]),
            "Give each device the slice of its index: sharding.addressable_devices_indices_map, or variable.assign."
            if same
            else "In make_model, draw from Keras' random numbers, seed other random numbers, or load the same weights.",
        )


def _differ(expected: Any, found: Any) -> bool:
    return expected.shape != found.shape or expected.tobytes() != found.tobytes()


def _beginning(value: Any) -> str:
    return "missing" if value is None else " ".join(f"{float(one):.4g}" for one in value.ravel()[:3])


def _judge_programs(runs: "Mapping[Order, OrderedRun]") -> None:
    found = {order: (run.nbytes, run.collectives.by_kind()) for order, run in runs.items()}
    (first, expected), *others = found.items()
    wrong = [order for order, one in others if one != expected]
    if not wrong:
        return
    rows: list[Row] = []
    for order, (nbytes, kinds) in found.items():
        shown = ", ".join(f"{count} {kind} ({format_bytes(size)})" for kind, (count, size) in kinds.items())
        rows.append((_shown(order), format_bytes(nbytes), shown or "none"))
    what = "bytes per device" if found[wrong[0]][0] != expected[0] else "collectives"
    raise Failed(
        "DEVICE_ORDER_CHANGES_PROGRAM",
        f"With the devices in the order {_shown(wrong[0])}, the training step has other {what} than in the order "
        f"{_shown(first)}.",
        ("order", "bytes per device", "collectives"),
        rows,
        "Make the same layout map for each order of the devices."
        if what == "bytes per device"
        else "The layouts are the same: look for code in the model that reads the numbers or the order of devices.",
    )


def _judge_losses(runs: "Mapping[Order, OrderedRun]", tolerance: Tolerance) -> None:
    (_, expected), *_ = runs.items()
    rows: list[Row] = []
    wrong = []
    for order, run in runs.items():
        pairs = zip(run.losses, expected.losses, strict=True)
        worst = max(abs(loss - other) / max(abs(other), sys.float_info.min) for loss, other in pairs)
        # Written so that NaN is too large.
        if not worst <= tolerance.rtol:
            wrong.append(order)
        rows.append((_shown(order), *(f"{loss:.8g}" for loss in run.losses), f"{worst:.1e}"))
    if not all(map(math.isfinite, expected.losses)):
        raise Failed(
            "LOSS_NOT_FINITE", "A loss is not finite, so that no order can be compared.", _headings(rows), rows
        )
    if wrong:
        raise Failed(
            "DEVICE_ORDER_CHANGES_LOSSES",
            f"The model and its collectives are the same in each order of the devices, but with {_shown(wrong[0])} a "
            f"loss differs by more than {tolerance}.",
            _headings(rows),
            rows,
        )


def _headings(rows: Sequence[Row]) -> tuple[str, ...]:
    return ("order", *(f"loss {number}" for number in range(1, len(rows[0]) - 1)), "relative difference")
