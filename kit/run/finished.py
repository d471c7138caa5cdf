"""The folder of a finished run. Imports no framework."""

from dataclasses import dataclass
from pathlib import Path

from kit.errors import UserError
from kit.run.folder import REQUEST_FILE
from kit.run.metrics import METRICS_FILE, read_metrics
from kit.run.result import RESULT_FILE, RunResult, read_result


@dataclass(frozen=True)
class FinishedRun:
    """A finished run."""

    #: Its folder as the user typed it.
    shown: str
    #: Absolute.
    folder: Path
    result: RunResult

    @property
    def training_state(self) -> Path:
        """The folder that ``save_training`` of the part ``checkpoint`` wrote."""
        return self.folder / "adapters"


def open_finished_run(shown: str) -> FinishedRun:
    """Read the result of a finished run from its folder, named as the user typed it.

    Raises UserError if it is not the folder of a finished run, or if its ``run.json`` is damaged.
    """
    folder = Path(shown)
    if not folder.is_dir():
        found = "this is a file" if folder.exists() else "there is no such folder"
        raise UserError(f"{shown}: {found}; give the folder of a run, such as `kit run` creates in runs/.")
    if not (folder / RESULT_FILE).is_file():
        if not (folder / METRICS_FILE).is_file() and not (folder / REQUEST_FILE).is_file():
            raise UserError(
                f"{shown}: this is not the folder of a run; it has neither {RESULT_FILE} nor {METRICS_FILE}."
            )
        done = len(read_metrics(folder / METRICS_FILE, finished=False))
        raise UserError(
            f"{shown}: this run is not finished ({done} step{'' if done == 1 else 's'} in {METRICS_FILE}, and no "
            f"{RESULT_FILE}); wait for it, or resume it with `kit run --resume {shown}`."
        )
    return FinishedRun(shown, folder.absolute(), read_result(folder))


def open_exportable_run(shown: str) -> FinishedRun:
    """A finished run with all that an export needs, from its folder as the user typed it.

    Raises UserError if it is not the folder of a finished run, or if something is missing.
    """
    found = open_finished_run(shown)
    result = found.result
    if not {"batch", "model"} <= set(result.mesh):
        raise UserError(f'{shown}: its run.json is damaged: the mesh has no axes "batch" and "model".')
    if result.filled is None or result.working_folder is None or result.checksums is None:
        raise UserError(f"{shown}: its run.json is from an older version of the kit: make the run again.")
    if not found.training_state.is_dir():
        raise UserError(f"{shown}: its folder adapters is missing: make the run again.")
    return found
