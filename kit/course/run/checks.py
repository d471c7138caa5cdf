"""Checks of all parts together: the tutorial end to end, its control, and the tutorial itself on a TPU."""

import tempfile
from pathlib import Path
from typing import Any

import jax

from kit.checks.diagnosis import Failed
from kit.judge.submission import described
from kit.errors import UserError
from kit.models.presets import BUNDLED
from kit.narrator import Narrator
from kit.parts.implementation import Parts
from kit.run.options import prepare_options
from kit.run.pipeline import run
from kit.run.result import RunResult, StyleShift
from kit.runtime.platform import start


def style_shift(parts: Parts) -> None:
    """The whole tutorial with these parts: lists before, reviews after, the loss goes down."""
    _expect_shift(_run(parts, BUNDLED, control=False))


def control(parts: Parts) -> None:
    """A third of the steps on reviews with their words shuffled is no shift.

    Reviews lose 0.63 to 0.66 nats a token in them (three seeds), and 0.68 in all of the steps (seed 0).
    """
    result = _run(parts, BUNDLED, control=True, batches=100)
    style = result.style
    if style.shifted or style.gain.shift > 0 or style.after.share_of_reviews > 0.2:
        raise Failed(
            "STYLE_CONTROL_SHIFTS_TOO",
            "Tuned on reviews with their words shuffled, the model is said to have shifted to reviews.",
            ("", "expected", "yours"),
            _style_rows(style),
        )


def tutorial(parts: Parts) -> None:
    """Gemma 7B with the tutorial's settings: 11,067,392 trainable parameters, the loss goes down, the style shifts."""
    result = _run(parts, "gemma_7b_en", control=False)
    trainable = result.parameters.tuned.trainable
    if trainable != 11_067_392:
        raise Failed(
            "LORA_WRONG_COUNT",
            "Gemma 7B is tuned with another number of parameters than in the tutorial.",
            ("expected", "yours"),
            [("11,067,392", f"{trainable:,}")],
        )
    _expect_shift(result)


def _run(parts: Parts, preset: str, control: bool, **given: Any) -> RunResult:
    """`kit run` with its defaults but for what is given, in a folder that is given up."""
    narrator = Narrator()
    with tempfile.TemporaryDirectory(prefix="kit-check-") as folder:
        options = prepare_options(preset, given, None, control, Path(folder))
        runtime = start(jax.default_backend(), seed=options.settings.seed)
        try:
            parts.check()
            result = run(options, runtime, parts, narrator)
            assert result is not None, "one process writes its result"
            return result
        except UserError as error:
            cause, line = str(error), ""
        except Exception as error:
            frame = parts.last_frame(error)
            cause = described(error)
            line = f"{Path(frame.filename).name}:{frame.lineno}" if frame else "with what a part returned"
    raise Failed(
        "EXERCISE_CRASHED",
        f"The run failed: {cause}.",
        ("step of the run", "where"),
        [(narrator.titles[-1] if narrator.titles else "before the first", line)],
    )


def _expect_shift(result: RunResult) -> None:
    training, style = result.training, result.style
    # Of the bundled model, over five seeds: +0.036 to +0.047 nats a token, and all of the completions reviews.
    gained = style.after.log_likelihood.reviews - style.before.log_likelihood.reviews
    if not style.shifted or style.after.share_of_reviews < 0.8 or style.gain.shift <= 0 or gained < 0.03:
        raise Failed(
            "STYLE_NO_SHIFT", "The style has not shifted to reviews.", ("", "before", "after"), _style_rows(style)
        )
    if not training.last_loss < training.first_loss:
        raise Failed(
            "TRAINING_LOSS_FLAT",
            "The loss of the last third of the steps is not below that of the first.",
            ("first third", "last third"),
            [(f"{training.first_loss:.4f}", f"{training.last_loss:.4f}")],
        )
    if style.share_without_copies < 0.8:
        raise Failed(
            "STYLE_NO_SHIFT",
            "The completions are copied from the reviews that the model was tuned on.",
            ("completions without 8 words in a row from them", "yours"),
            [("at least 80%", f"{style.share_without_copies:.0%}")],
            advice="Tune for fewer steps or at a lower rate.",
        )


def _style_rows(style: StyleShift) -> list[tuple[str, str, str]]:
    before, after = style.before, style.after
    return [
        ("lists, of the prompts' completions", f"{before.share_of_lists:.0%}", f"{after.share_of_lists:.0%}"),
        ("reviews", f"{before.share_of_reviews:.0%}", f"{after.share_of_reviews:.0%}"),
        *(
            (
                f"nats per token, {name}",
                f"{getattr(before.log_likelihood, name):.4f}",
                f"{getattr(after.log_likelihood, name):.4f}",
            )
            for name in ("reviews", "lists")
        ),
        ("your shift", "", f"{style.gain.shift:+.4f}"),
    ]
