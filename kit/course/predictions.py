"""Questions to answer before a measurement, and what the measurement says about the answer.

The questions of an exercise are in its ``predictions.py``. Imports no framework: a measurement
imports its own when it is made.
"""

import importlib
import importlib.util
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kit.course.catalogue import catalogue
from kit.errors import UserError
from kit.formatting import format_bytes

#: A number, or one of the choices.
Value = float | str

BYTES = "bytes"
_BYTES_PER_UNIT = {"": 1, "byte": 1, "bytes": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9}
_BYTES_PER_UNIT |= {"kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True)
class Question:
    """A question of a lesson whose answer can be measured on this machine in seconds."""

    name: str
    #: One question, with all that is needed to answer it.
    asks: str
    #: Measures the answer; runs in a process of its own, on 8 simulated devices.
    measure: Callable[[], Value]
    #: Why the measured value is what it is.
    explains: str
    #: Of a number; with "bytes" an answer may also be in kB, MB or GB.
    unit: str = ""
    #: The possible answers, if it is not a number.
    choices: tuple[str, ...] = ()
    #: A number is right if it differs by at most this share of the measured value.
    within: float = 0.0
    #: Likely wrong answers, as they would be typed: what each means.
    mistakes: Mapping[str, str] = field(default_factory=dict)

    def parse(self, text: str) -> Value:
        """The answer that a text means. Raises UserError if it means none."""
        text = text.strip()
        if self.choices:
            found = [choice for choice in self.choices if f" {text}".lower() in f" {choice}".lower()]
            if text and len(found) == 1:
                return found[0]
            raise UserError(f"{text!r} is no answer to {self.name}: choose {' or '.join(self.choices)}.")
        match = re.fullmatch(r"([-+−]?\d[\d,_]*\.?\d*(?:e[-+]?\d+)?)\s*([a-z]*)", text, re.IGNORECASE)
        units = _BYTES_PER_UNIT if self.unit == BYTES else {"": 1, self.unit: 1}
        if match is None or (factor := units.get(match[2].lower())) is None:
            example = "4.2 MB" if self.unit == BYTES else "42"
            raise UserError(f"{text!r} is no answer to {self.name}: give a number, such as {example}.")
        return float(re.sub("[,_]", "", match[1]).replace("−", "-")) * factor

    def is_right(self, answer: Value, measured: Value) -> bool:
        """Whether an answer is near enough."""
        if isinstance(answer, str) or isinstance(measured, str):
            return answer == measured
        return math.isclose(answer, measured, rel_tol=max(self.within, 1e-9), abs_tol=1e-9)

    def explain(self, answer: Value, measured: Value) -> str:
        """What the answer means if it is a likely mistake, and why the measured value is right."""
        if not self.is_right(answer, measured):
            for text, sentence in self.mistakes.items():
                if self.is_right(answer, self.parse(text)):
                    return f"{sentence} {self.explains}"
        return self.explains

    def show(self, value: Value) -> str:
        """A value as a person reads it."""
        if isinstance(value, str):
            return value
        if self.unit == BYTES:
            return format_bytes(round(value))
        number = f"{value:,.0f}" if value == int(value) else f"{value:,.4f}".rstrip("0")
        return f"{number} {self.unit}".rstrip()


def questions(exercise: str) -> tuple[Question, ...]:
    """The questions of an exercise; empty if it has none. Raises UserError for unknown names."""
    package = f"{catalogue().package}.{catalogue().find(exercise).name}"
    if importlib.util.find_spec(f"{package}.predictions") is None:
        return ()
    found: tuple[Question, ...] = importlib.import_module(f"{package}.predictions").QUESTIONS
    return found


def question(exercise: str, name: str) -> Question | None:
    """The question of this name; None if a version of the kit has none."""
    return next((found for found in questions(exercise) if found.name == name), None)
