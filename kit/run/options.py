"""What a run needs, found and checked before jax is started: nobody waits for a model to hear of a mistake."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.data.reviews import Example, checksum, load_reviews, tuning_examples
from kit.errors import UserError
from kit.models.presets import Preset, find_preset
from kit.models.settings import TUTORIAL_SETTINGS, FinetuningSettings
from kit.run.folder import RunFolder, unfinished_run


@dataclass(frozen=True)
class Unfinished:
    """A run that was broken off, to go on with."""

    #: As it was given.
    shown: str
    folder: RunFolder
    #: What was asked for when it began.
    request: dict[str, Any]
    #: The style before tuning.
    before: dict[str, Any]


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked for."""

    preset: Preset
    settings: FinetuningSettings
    #: Sizes of the axes "batch" and "model"; None: (1, all devices).
    mesh: tuple[int, int] | None
    #: Tune on reviews with their words shuffled.
    control: bool
    #: The folder in which the run's own folder is made.
    runs_folder: Path
    #: The reviews that may be tuned on.
    examples: list[Example]
    #: Steps from one save to the next; None: a tenth of all.
    save_every: int | None = None
    #: The run that is gone on with.
    unfinished: Unfinished | None = None

    @property
    def shown_folder(self) -> str | None:
        """The folder of the run that is gone on with, as it was given."""
        return self.unfinished.shown if self.unfinished else None

    def mesh_shape(self, device_count: int) -> tuple[int, int]:
        """The mesh for so many devices.

        Raises:
            UserError: if it does not fit them, or if it cannot split a batch.

        """
        batch, model = fitting_mesh(self.mesh, device_count)
        if self.settings.batch_size % batch:
            raise UserError(
                f"--batch-size {self.settings.batch_size}: the mesh {batch}x{model} splits a batch into {batch} equal parts; "
                f"choose a multiple of {batch}."
            )
        return batch, model


def fitting_mesh(mesh: tuple[int, int] | None, device_count: int) -> tuple[int, int]:
    """The sizes of the axes "batch" and "model" for so many devices; all in "model" if none are given.

    Raises:
        UserError: if they do not fit.

    """
    batch, model = mesh or (1, device_count)
    if batch * model != device_count:
        raise UserError(
            f"--mesh {batch}x{model}: that takes {_so_many(batch * model)}, and {device_count} {'is' if device_count == 1 else 'are'} here; "
            f"choose two factors of {device_count}, or simulate others with `--platform cpu --devices {batch * model}`."
        )
    return batch, model


def _so_many(devices: int) -> str:
    return f"{devices} device{'' if devices == 1 else 's'}"


def prepare(
    preset_name: str,
    given: Mapping[str, Any],
    mesh: tuple[int, int] | None,
    control: bool,
    runs_folder: Path,
    save_every: int | None = None,
    unfinished: Unfinished | None = None,
) -> RunOptions:
    """Find the preset and the reviews, and check the settings.

    Args:
        preset_name: What :func:`kit.models.presets.find_preset` takes.
        given: Settings put over those that travel with the preset; None for those not given.
        mesh: Sizes of the axes "batch" and "model", if given.
        control: Tune on reviews with their words shuffled.
        runs_folder: The folder in which the run's own folder is made.
        save_every: Steps from one save to the next; None: a tenth of all.
        unfinished: The run that is gone on with, if it is none of its own.

    Raises:
        UserError: for whatever a user can mend.

    """
    # Values that no preset could make right need no preset to be refused.
    TUTORIAL_SETTINGS.with_options(**given)
    if save_every is not None and save_every < 1:
        raise UserError(f"--save-every {save_every}: it must be at least 1.")
    _check_writable(runs_folder)
    preset = find_preset(preset_name)
    settings = preset.settings.with_options(**given)
    examples = tuning_examples(load_reviews(settings.data), keep_pretraining_out=preset.trained_on_reviews)
    wanted = settings.batches * settings.batch_size
    if len(examples) < wanted:
        raise UserError(
            f"--data {settings.data}: {settings.batches} batches of {settings.batch_size} take {wanted:,} reviews, and there are "
            f"{len(examples):,} to tune on (what is held out to judge by is not among them): lower --batches or --batch-size."
        )
    return RunOptions(preset, settings, mesh, control, runs_folder, examples, save_every, unfinished)


def find_unfinished(shown: str, hold: bool = True) -> Unfinished:
    """The run to go on with, kept from other processes with ``hold``. What it was given by relative paths is found again: its working folder becomes the process's.

    Raises:
        UserError: if there is no such run, if it is finished, or if a process is still at it.

    """
    folder, request, before = unfinished_run(shown, hold)
    try:
        os.chdir(request["working_folder"])
    except OSError:
        raise UserError(
            f"--resume {shown}: it was begun in {request['working_folder']}, which is not there any more; its paths may be relative to it."
        ) from None
    return Unfinished(shown, folder, request, before)


def check_options_agree(options: RunOptions) -> None:
    """Make sure that all processes were started with the same options, which would else wait for each other forever.

    Raises:
        UserError: if they were not.

    """
    import hashlib

    import numpy as np
    from jax.experimental import multihost_utils

    examples = checksum(text for text, _ in options.examples)
    said = repr((options.preset.name, options.settings, options.mesh, options.control, options.save_every, examples))
    try:
        multihost_utils.assert_equal(np.frombuffer(hashlib.sha256(said.encode()).digest(), dtype=np.uint8))
    except AssertionError:
        raise UserError(
            "The processes were started with different options or reviews: give each the same command line and the same data."
        ) from None


def _check_writable(folder: Path) -> None:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise UserError(f"--runs {folder}: no folder can be made there, since {place} is a file.")
    if not os.access(place, os.W_OK):
        raise UserError(f"--runs {folder}: no folder can be made there, since {place} cannot be written to.")
