"""The tutorial end to end, over any parts, from the devices to the style shift."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from kit.narrator import Narrator
from kit.parts.implementation import Parts
from kit.run import steps
from kit.run.folder import RunFolder, new_run_folder
from kit.run.interrupted import RunRequest
from kit.run.options import RunOptions
from kit.run.result import RunResult
from kit.run.resume import keep_or_remove
from kit.run.state import RunState, run_inputs
from kit.runtime.interrupts import INTERRUPTS
from kit.runtime.platform import Runtime

Step = Callable[[RunState], None]

#: The steps, in the order of the tutorial.
PREPARATION: tuple[Step, ...] = (
    steps.devices,
    steps.mesh,
    steps.layout_map,
    steps.distributed_loading,
    steps.sharding_table,
    steps.generation_before,
    steps.reviews,
    steps.lora,
    steps.optimizer,
    steps.resume,
)
#: These write to the run folder.
TRAINING: tuple[Step, ...] = (steps.training, steps.generation_after, steps.style_shift, steps.save)


def run(options: RunOptions, runtime: Runtime, parts: Parts, narrator: Narrator) -> RunResult | None:
    """Run the tutorial, and return what ``run.json`` holds; None where no run folder is written.

    Raises UserError for whatever the user can fix. The run folder is kept only if it has a
    checkpoint.
    """
    state = RunState(options, runtime, parts, narrator, run_inputs(options, parts), narrator.started)
    INTERRUPTS.clean_up = narrator.stop_working
    for step in PREPARATION:
        step(state)
    with _run_folder(state):
        for step in TRAINING:
            step(state)
    return state.result


@contextlib.contextmanager
def _run_folder(state: RunState) -> Iterator[None]:
    """The folder of the run, created unless the run is resumed; only process 0 writes to it."""
    options, interrupted = state.options, state.options.interrupted
    if interrupted:
        state.shown_folder = interrupted.shown
    if not state.runtime.processes.is_main:
        yield
        return
    folder = interrupted.folder if interrupted else _new_folder(state)
    state.folder = folder
    state.shown_folder = state.shown_folder or str(options.runs_folder / folder.path.name)
    INTERRUPTS.clean_up = functools.partial(_stopped_at_once, state, folder)
    try:
        yield
    except BaseException as error:
        keep_or_remove(folder, state.shown_folder, error, state.narrator)
        raise
    finally:
        folder.close()


def _stopped_at_once(state: RunState, folder: RunFolder) -> None:
    state.narrator.stop_working()
    keep_or_remove(folder, state.shown_folder, KeyboardInterrupt(), state.narrator)


def _new_folder(state: RunState) -> RunFolder:
    options, inputs = state.options, state.inputs
    request = RunRequest(
        **vars(inputs),
        checksums=state.checksums,
        mesh=options.mesh_shape(state.runtime.device_count),
        save_every=options.save_every,
        evidence=state.evidence_size.name,
        layout=options.layout,
    )
    time_of_day = re.sub(r"[^0-9T]", "", inputs.started.isoformat().partition("+")[0]).replace("T", "-")
    name = f"{time_of_day}-{Path(inputs.preset).name.partition('@')[0]}" + ("-control" if inputs.control else "")
    return new_run_folder(options.runs_folder, name, request, state.before)
