"""The options of a run.

They are checked before jax starts, so that invalid options fail before a model is loaded.
"""

import errno
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.data.reviews import Example, checksum, load_reviews, tuning_examples
from kit.errors import UserError
from kit.files import write_bytes
from kit.models.presets import Preset, find_preset
from kit.models.settings import TUTORIAL_SETTINGS, FinetuningSettings
from kit.run.evidence_size import AUTOMATIC, check_evidence
from kit.run.interrupted import InterruptedRun

#: Layouts: each matrix is split over the axis "model", or over both axes.
TENSOR, FULLY_SHARDED = LAYOUTS = ("tensor", "fsdp")


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked for."""

    preset: Preset
    settings: FinetuningSettings
    #: Sizes of the axes "batch" and "model"; None: (1, all devices).
    mesh: tuple[int, int] | None
    #: Train on reviews with shuffled words.
    control: bool
    #: The folder in which the run folder is created.
    runs_folder: Path
    examples: list[Example]
    #: Steps between checkpoints; None: a tenth of all.
    save_every: int | None = None
    interrupted: InterruptedRun | None = None
    #: "quick", "full", or "auto", which chooses by the model and the machine.
    evidence: str = AUTOMATIC
    #: "tensor" or "fsdp".
    layout: str = TENSOR
    #: Whether a GPU computes the same in each process.
    deterministic: bool = False

    def mesh_shape(self, device_count: int) -> tuple[int, int]:
        """The mesh. Raises UserError if it does not fit the devices, or does not divide a batch."""
        batch, model = fitting_mesh(self.mesh, device_count, self.layout)
        if self.settings.batch_size % batch:
            raise UserError(
                f"--batch-size {self.settings.batch_size}: the mesh {batch}x{model} splits a batch into {batch} equal "
                f"parts; choose a multiple of {batch}."
            )
        return batch, model


def fitting_mesh(mesh: tuple[int, int] | None, device_count: int, layout: str = TENSOR) -> tuple[int, int]:
    """The mesh, by default (1, all devices), or (all devices, 1) for the layout "fsdp".

    Raises UserError if it does not fit the devices or the layout.
    """
    batch, model = mesh or default_mesh(layout, device_count)
    wanted = batch * model
    if wanted != device_count:
        raise UserError(
            f"--mesh {batch}x{model}: it needs {wanted} device{'' if wanted == 1 else 's'}, and there "
            f"{'is' if device_count == 1 else 'are'} {device_count}; choose two factors of {device_count}, or "
            f"simulate devices with `--platform cpu --devices {wanted}`."
        )
    check_layout(layout, (batch, model))
    return batch, model


def default_mesh(layout: str, device_count: int) -> tuple[int, int]:
    """All devices on the axis that the layout splits matrices over."""
    return (device_count, 1) if layout == FULLY_SHARDED else (1, device_count)


def check_layout(layout: str, mesh: tuple[int, int]) -> None:
    """Refuse a layout that does not exist, or for which the mesh has no axis: raises UserError."""
    if layout not in LAYOUTS:
        raise UserError(f"--layout {layout}: choose one of {', '.join(LAYOUTS)}.")
    if layout == FULLY_SHARDED and mesh[0] == 1:
        raise UserError(
            f'--layout {layout}: it splits matrices over the axis "batch", which has the size 1 in the mesh '
            f"{mesh[0]}x{mesh[1]}; choose a mesh such as {math.prod(mesh)}x1, or `--layout {TENSOR}`."
        )


def prepare_options(
    preset_name: str,
    given: Mapping[str, Any],
    mesh: tuple[int, int] | None,
    control: bool,
    runs_folder: Path,
    save_every: int | None = None,
    interrupted: InterruptedRun | None = None,
    evidence: str = AUTOMATIC,
    layout: str = TENSOR,
    deterministic: bool = False,
) -> RunOptions:
    """Find the preset and the reviews, and check the settings.

    ``given`` has settings that replace those of the preset, and None for those that are not given;
    :class:`RunOptions` describes the others. Raises UserError for whatever the user can fix.
    """
    # Values that no preset allows are refused before the preset is looked for.
    TUTORIAL_SETTINGS.with_options(**given)
    if save_every is not None and save_every < 1:
        raise UserError(f"--save-every {save_every}: it must be at least 1.")
    check_evidence(evidence)
    check_layout(layout, mesh or default_mesh(layout, 2))
    if interrupted:
        check_writable(interrupted.folder.path, f"--resume {interrupted.shown}: cannot write there")
    else:
        check_writable(runs_folder, f"--runs {runs_folder}: cannot create a folder there")
    preset = find_preset(preset_name)
    settings = preset.settings.with_options(**given)
    examples = tuning_examples(load_reviews(settings.data), keep_pretraining_out=preset.trained_on_reviews)
    wanted = settings.batches * settings.batch_size
    if len(examples) < wanted:
        raise UserError(
            f"--data {settings.data}: {settings.batches} batches of {settings.batch_size} need {wanted:,} reviews, "
            f"and there are {len(examples):,} to train on (held-out reviews are not among them): lower --batches or "
            "--batch-size."
        )
    return RunOptions(
        preset,
        settings,
        mesh,
        control,
        runs_folder,
        examples,
        save_every,
        interrupted,
        evidence,
        layout,
        deterministic,
    )


def check_options_agree(options: RunOptions) -> None:
    """Raises UserError if the processes' options differ: they would wait for each other forever."""
    import hashlib

    import numpy as np
    from jax.experimental import multihost_utils

    examples = checksum(text for text, _ in options.examples)
    same = ("settings", "mesh", "control", "save_every", "evidence", "layout", "deterministic")
    content = repr((options.preset.name, examples, *(getattr(options, name) for name in same)))
    try:
        multihost_utils.assert_equal(np.frombuffer(hashlib.sha256(content.encode()).digest(), dtype=np.uint8))
    except AssertionError:
        raise UserError(
            "The processes have different options or reviews: give each the same command line and the same data."
        ) from None


def check_writable(folder: Path, refusal: str) -> None:
    """Create a file there, and delete it: permissions do not show a read-only or a full disk.

    The folder itself may not exist yet. Raises UserError, which begins with ``refusal``.
    """
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    try:
        if not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{parent} is a file")
        with tempfile.TemporaryDirectory(prefix=".kit-", dir=parent) as made:
            write_bytes(Path(made) / "file", bytes(4096))
    except OSError as error:
        raise UserError(
            f"{refusal} ({error.strerror}): free some space, or choose a folder that you may write to."
        ) from None
