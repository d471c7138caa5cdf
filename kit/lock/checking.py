"""A lock file compared with today's model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit.errors import UserError
from kit.formatting import format_bytes
from kit.lock.content import Lock
from kit.lock.differences import differences, of_compiled, same_sharding
from kit.lock.measuring import measure, with_locked_map
from kit.models.user_functions import UserFunction, find_function
from kit.tpu.own_step import OwnModel
from kit.tpu.topologies import Topology, find_topology

#: The versions that a compiled program depends on.
OF_THE_COMPILER = ("jax", "jaxlib", "libtpu", "keras", "keras-hub")


@dataclass(frozen=True)
class Comparison:
    """A lock compared with today's model."""

    #: Sentences; empty if nothing differs.
    differences: tuple[str, ...]
    #: What to know about the comparison, for example that versions differ.
    notes: tuple[str, ...]
    lock: Lock
    today: Lock


def model_of(lock: Lock, folder: Path) -> OwnModel:
    """The functions that a lock names, whose files are found from its folder."""
    source = lock.source
    found: dict[str, UserFunction] = {
        text: find_function(text, folder) for text in (source.model, source.layout) if text
    }
    sizes = source.batch.split("x")
    batch = tuple(map(int, sizes)) if all(size.isdigit() for size in sizes) else find_function(source.batch, folder)
    axes = dict(zip(("batch", "model"), map(int, source.mesh.split("x")), strict=True)) if source.mesh else None
    return OwnModel(found[source.model], batch, found.get(source.layout), axes)


def check_lock(
    lock: Lock, folder: Path, compile_step: bool, report: Callable[[str], None] = lambda text: None
) -> Comparison:
    """Measure today's model, and compare it with the lock.

    With ``compile_step`` the step is compiled for the topologies of the lock. If the versions of
    Keras, JAX or libtpu are others than the lock's, the lock's layout map is compiled, too, with
    today's model: otherwise the compiler's changes would look like yours. Raises UserError if a
    function fails, or if the layout map cannot be used.
    """
    own = model_of(lock, folder)
    topologies = [find_topology(compiled.topology) for compiled in lock.compiled] if compile_step else []
    today = measure(own, lock.source, topologies=topologies, report=report)
    notes: list[str] = []
    changed = [
        f"{name} {lock.versions.get(name, 'none')}, now {today.versions.get(name, 'none')}"
        for name in OF_THE_COMPILER
        if lock.versions.get(name) != today.versions.get(name)
    ]
    before = lock if compile_step else lock.without_program()
    if changed:
        notes.append(f"Other versions than the lock's: {'; '.join(changed)}.")
    if changed and topologies:
        before, more = _compiled_today(lock, own, today, topologies, report)
        notes += more
    return Comparison(tuple(differences(before, today)), tuple(notes), lock, today)


def _compiled_today(
    lock: Lock, own: OwnModel, today: Lock, topologies: Sequence[Topology], report: Callable[[str], None]
) -> tuple[Lock, list[str]]:
    """The lock with what today's compiler says about its layout map, and sentences about that."""
    marked = "The lock's layout map was compiled with today's versions and today's model before the comparison."
    if same_sharding(lock, today):
        compiled = today.compiled
        marked = "The layout map shards as the lock's does, so its collectives under these versions are its own."
    else:
        try:
            report("compiling the lock's layout map with today's versions")
            locked = with_locked_map(own, lock)
            compiled = measure(locked, lock.source, topologies=topologies, report=report).compiled
        except UserError as error:
            note = f"The lock's layout map cannot be used on today's model, so its own figures are compared: {error}"
            return lock, [note]
    apart = of_compiled(lock.compiled, compiled)
    notes = [marked]
    if apart:
        notes.append(f"Because of the versions or the model, and not of the layout map: {'; '.join(apart[:4])}.")
    return replace(lock, compiled=compiled), notes


def report_of(comparison: Comparison, file: str) -> str:
    """What `kit lock --check` prints."""
    lock, source = comparison.lock, comparison.lock.source
    level = ""
    if not comparison.today.compiled:
        level = ", without the compiler" if lock.compiled else " (the lock has no compiled step)"
    lines = [f"{source.model}{f' with {source.layout}' if source.layout else ''}, compared with {file}{level}"]
    lines += [f"  Note: {note}" for note in comparison.notes]
    if not comparison.differences:
        return "\n".join([*lines, "  Nothing differs."])
    lines += [f"  - {sentence}" for sentence in comparison.differences]
    return "\n".join([*lines, f"  If this is meant, renew the lock: `{command_of(lock, file)}`"])


def command_of(lock: Lock, file: str) -> str:
    """The command that writes the lock again."""
    source = lock.source
    words = ["kit lock", source.model, *(["--layout", source.layout] if source.layout else [])]
    words += ["--batch", source.batch, *(["--mesh", source.mesh] if source.mesh else [])]
    words += [f"--topology {compiled.topology}" for compiled in lock.compiled] or ["--no-compile"]
    return " ".join([*words, *(["--file", file] if file != "sharding.lock" else [])])


def summary_of(lock: Lock, before: Lock | None, file: str) -> str:
    """What `kit lock` prints after it has written the file."""
    unmatched = sum(row.nbytes_per_device for row in lock.unmatched)
    lines = [
        f"{file}: {len(lock.rules)} rules, {format_bytes(lock.state_nbytes_per_device)} of weights and optimizer "
        f"state per device, of which {format_bytes(unmatched)} of weights have no rule."
    ]
    for compiled in lock.compiled:
        count = sum(row.count for row in compiled.collectives or ())
        answer = "fits" if compiled.fits else "does not fit"
        lines.append(
            f"{compiled.topology}: it {answer}, peak {format_bytes(compiled.peak)} of {format_bytes(compiled.usable)}, "
            f"{count} collectives per step."
        )
    if before is not None:
        changed = differences(before, lock)
        lines += ["Compared with the lock before:", *(f"  - {sentence}" for sentence in changed or ["nothing differs"])]
    return "\n".join(lines)
