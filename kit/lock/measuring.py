"""The lock of a model: of its layout map alone, or with what the compiler says."""

import importlib.metadata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import keras

from kit.lock.content import Collectives, Compiled, Lock, LockedRule, Source, Variables
from kit.models.weightless import VariableInfo
from kit.tpu.compiler import topology_devices
from kit.tpu.own_step import OwnModel, build_own_model
from kit.tpu.plan import Plan, nbytes_per_device, plan_of_step
from kit.tpu.step import StepState, describe_state
from kit.tpu.topologies import Topology

#: The packages that a lock depends on. Those of the compiler are libtpu, jax and jaxlib.
PACKAGES = ("keras", "keras-hub", "jax", "jaxlib", "libtpu")


def measure(
    own: OwnModel,
    source: Source,
    devices: Sequence[object] | None = None,
    topologies: Sequence[Topology] = (),
    report: Callable[[str], None] = lambda text: None,
) -> Lock:
    """The lock of a model on these devices, with a compilation for each topology.

    Without topologies, no step is traced. The devices are then the simulated ones of this process.
    Raises UserError as :func:`kit.tpu.own_step.build_own_model`.
    """
    if not topologies:
        import jax

        report("building the model")
        built = build_own_model(own, devices or jax.devices(), to_lower=False)
        return _lock(describe_state(built.model, built.distribution), source)
    compiled, lock = [], None
    for topology in topologies:
        report("building the model")
        built = build_own_model(own, topology_devices(topology))
        report("tracing a training step")
        step = built.lower(topology_devices(topology))
        lock = lock or _lock(step, source)
        compiled.append(_compiled(plan_of_step(step, topology, built.settings, "the whole step", report)))
    assert lock is not None
    return replace(lock, compiled=tuple(compiled))


def _compiled(plan: Plan) -> Compiled:
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for cause in plan.causes or ():
        entry = found[cause.layer_kind or "", cause.kind]
        entry[0] += cause.count
        entry[1] += cause.nbytes
    collectives = tuple(Collectives(*key, *entry) for key, entry in sorted(found.items()))
    made = None if plan.causes is None else collectives
    return Compiled(plan.topology.name, plan.fits, plan.peak, plan.arguments, plan.usable, made)


def _lock(state: StepState, source: Source) -> Lock:
    by_path = {variable.path: variable for variable in state.variables}
    return Lock(
        source=source,
        versions=_versions(),
        axes=dict(state.axes),
        batch_axis=state.batch_axis or "",
        parameters=sum(variable.size for variable in state.variables),
        trainable=sum(variable.size for variable in state.variables if variable.trainable),
        rules=tuple(
            LockedRule(
                rule.pattern,
                tuple(rule.spec),
                rule.nbytes,
                _rows(state, (by_path[path] for path in rule.paths)),
                tuple(sorted({state.kinds(layer) for layer in rule.outputs})),
            )
            for rule in state.coverage.rules
        ),
        unmatched=_rows(state, state.coverage.unmatched),
    )


def _rows(state: StepState, variables: Iterable[VariableInfo]) -> tuple[Variables, ...]:
    """One row for the variables of one kind and shape, the most bytes first."""
    weights: Counter[str] = Counter()
    moments: Counter[str] = Counter()
    for slot in (slot for group in state.slots for slot in group if slot.variable):
        (moments if slot.group == "optimizer" else weights)[slot.variable] += nbytes_per_device(slot, state.axes)
    found: dict[tuple[str, tuple[int, ...], str], list[str]] = defaultdict(list)
    for variable in variables:
        found[state.kinds(variable.path), variable.shape, variable.dtype].append(variable.path)
    rows = []
    for (kind, shape, dtype), paths in found.items():
        held = sum(weights[path] for path in paths)
        rows.append(Variables(kind, shape, dtype, len(paths), held, held + sum(moments[path] for path in paths)))
    return tuple(sorted(rows, key=lambda row: (-row.nbytes_per_device, row.path)))


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def with_locked_map(own: OwnModel, lock: Lock) -> OwnModel:
    """Today's model with the lock's layout map, on the lock's mesh."""

    def locked_map(device_mesh: keras.distribution.DeviceMesh) -> keras.distribution.LayoutMap:
        made = keras.distribution.LayoutMap(device_mesh)
        for rule in lock.rules:
            made[rule.pattern] = rule.spec
        return made

    return replace(own, make_layout_map=locked_map, mesh=dict(lock.axes), batch_axis=lock.batch_axis or None)
