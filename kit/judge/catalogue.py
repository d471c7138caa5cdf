"""What an exercise and a check are, and the catalogue of them that the engine is handed.

Imports no framework.
"""

import dataclasses
import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from kit.checks.codes import COMMON_CODES, Code
from kit.checks.diagnosis import Diagnosis
from kit.errors import UserError, unknown_name
from kit.installation import install_command
from kit.parts.protocols import functions_of

#: Layers of checks, cheap ones first.
LAYERS = {
    "interface": "functions are implemented and have the expected names and signatures",
    "spec": "mesh, sharding specs, rule coverage, bytes per device, data",
    "params": "parameter counts in closed form, at 2B and 7B",
    "program": "collectives of the compiled step",
    "train": "losses step by step against an unsharded twin, adapters and base, resuming",
    "tpu_compile": "memory and collectives of the step, by the TPU compiler (needs libtpu, and no TPU)",
    "style": "the shift of what the model writes, and the control",
    "tpu": "the tutorial itself with gemma_7b_en; needs a TPU and access to Kaggle",
}

#: All parts together, as `kit run` runs them. It has checks and no function, lesson or stub of its
#: own.
WHOLE_RUN = "run"


#: A process that uses little CPU time is stopped after this many times the limit of its check.
WAITING_FACTOR = 10


@dataclass(frozen=True)
class Check:
    """One question about a solution.

    Its ``observe_<name>`` and ``judge_<name>`` are in the exercise's ``checks.py``.
    """

    name: str
    layer: str
    #: The function that the check is about; empty if it is about the whole exercise.
    function: str
    #: Seconds of CPU time until it is stopped, without the TPU compiler's; many times what the
    #: reference takes.
    limit: float
    #: What must be so, in one sentence: a condition, which holds for a check that fails too.
    asks: str
    exercise: str

    @property
    def id(self) -> str:
        """As pytest shows it."""
        return self.name.replace("_", "-")

    @property
    def is_available(self) -> bool:
        """Whether this machine has what the check needs besides its libraries."""
        return self.layer != "tpu_compile" or importlib.util.find_spec("libtpu") is not None


#: Runs a check on the implementation under test, and fails with its diagnosis.
Judge = Callable[[Check], None]


@dataclass(frozen=True)
class Function:
    """A function that an exercise asks for, and how it must be callable."""

    name: str
    #: Arguments that are passed by position, and how many of them are required.
    positional: tuple[str, ...]
    required: int
    #: Arguments that are passed by name.
    by_name: tuple[str, ...]

    @property
    def arguments(self) -> str:
        """The arguments that a function must accept, as text."""
        names = [*self.positional, *self.by_name]
        return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names) or "no arguments"

    @property
    def calls(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """Calls that the function must accept: (arguments by position, arguments by name)."""
        return (
            (self.positional, self.by_name),
            (self.positional[: self.required], ()),
            ((), self.positional + self.by_name),
        )


@dataclass(frozen=True)
class Exercise:
    """One exercise of the course: plain data, from its ``exercise.py``."""

    #: Place in the course.
    number: int
    #: As the learner types it, for example "mesh"; also the name of its folder and of its module.
    name: str
    title: str
    #: 1 to 3.
    difficulty: int
    #: For a Python programmer who is new to sharding, including the time to read the lesson.
    minutes: int
    #: Exercises whose lessons are assumed to be known.
    prerequisites: tuple[str, ...]
    #: A Protocol with the functions to write; None for the whole run.
    contract: type | None
    #: From a nudge to the outline of the solution.
    hints: tuple[str, ...]
    #: Its own checks, by (layer, function, limit): what each asks, by name.
    questions: dict[tuple[str, str, float], dict[str, str]]
    #: Measurements for `kit watch` that judge nothing, in the form of the questions: a sentence
    #: with the names of the figures, and "change" for what the edit has changed.
    prices: dict[tuple[str, str, float], dict[str, str]] = field(default_factory=dict)
    #: Codes of its diagnostics, by section of the lesson: the remedy of each. Codes that several
    #: exercises share are in ``kit.checks.codes``.
    remedies: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Errors that its lesson foresees: a pattern of the beginning of "Class: message" -> the
    #: remedy.
    foreseen: dict[str, str] = field(default_factory=dict)
    #: Whether it comes after the core exercises, which `kit run` is made of.
    advanced: bool = False
    #: What a learner knows who has passed it, in one sentence.
    learned: str = ""

    @functools.cached_property
    def checks(self) -> tuple[Check, ...]:
        """An interface check for each function and its own checks, cheap layers first."""
        found = [
            Check(
                f"interface_of_{function.name}",
                "interface",
                function.name,
                15,
                f"{function.name} must exist and accept {function.arguments}.",
                self.name,
            )
            for function in self.functions
        ]
        found += self._checks_of(self.questions)
        return tuple(sorted(found, key=lambda check: list(LAYERS).index(check.layer)))

    @property
    def price_checks(self) -> tuple[Check, ...]:
        """Its prices, as checks that a runner can run."""
        return tuple(self._checks_of(self.prices))

    def _checks_of(self, questions: dict[tuple[str, str, float], dict[str, str]]) -> list[Check]:
        return [
            Check(name, layer, function, limit, text, self.name)
            for (layer, function, limit), asks in questions.items()
            for name, text in asks.items()
        ]

    @property
    def codes(self) -> dict[str, Code]:
        """The codes of its diagnostics."""
        return {
            code: Code(remedy, f"{self.name}#{section}")
            for section, remedies in self.remedies.items()
            for code, remedy in remedies.items()
        }

    @property
    def functions(self) -> tuple[Function, ...]:
        """The functions to write, in their order."""
        found = []
        for name, function in functions_of(self.contract).items() if self.contract else ():
            _, *parameters = inspect.signature(function).parameters.values()
            positional = [parameter for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
            required = sum(parameter.default is parameter.empty for parameter in positional)
            by_name = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
            if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                # Any option must be accepted; this one is used in the course.
                by_name.append("dtype")
            found.append(Function(name, tuple(parameter.name for parameter in positional), required, tuple(by_name)))
        return tuple(found)


@dataclass(frozen=True)
class Catalogue:
    """All exercises of a course, and where their checks are."""

    #: "module:function", by which another process gets this catalogue.
    source: str
    #: The package with a subpackage for each exercise.
    package: str
    folder: Path
    #: In the order of the course, the whole run last.
    everything: tuple[Exercise, ...]

    @classmethod
    def from_source(cls, source: str) -> "Catalogue":
        """The catalogue that "module:function" gives."""
        module, _, function = source.partition(":")
        found: Catalogue = getattr(importlib.import_module(module), function)()
        return found

    @property
    def exercises(self) -> tuple[Exercise, ...]:
        """The exercises that a learner writes, in their order."""
        return tuple(exercise for exercise in self.everything if exercise.contract)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of these exercises."""
        return tuple(exercise.name for exercise in self.exercises)

    @property
    def codes(self) -> dict[str, Code]:
        """All codes of diagnostics."""
        found = dict(COMMON_CODES)
        for exercise in self.everything:
            found |= exercise.codes
        return found

    def find(self, name: str | None) -> Exercise:
        """The exercise of that name. Raises UserError if there is none, or if no name was given."""
        for exercise in self.exercises:
            if exercise.name == name:
                return exercise
        if name is None:
            raise UserError(f"Which exercise? Choose one of {', '.join(self.names)}.")
        raise unknown_name("exercise", name, self.names)

    def checks_of(self, name: str) -> tuple[Check, ...]:
        """The checks of an exercise or of the whole run, cheap layers first."""
        (found,) = [exercise for exercise in self.everything if exercise.name == name]
        return found.checks

    def function(self, exercise: str, name: str) -> Function:
        """What an exercise asks of a function."""
        (found,) = [function for function in self.find(exercise).functions if function.name == name]
        return found

    def find_check(self, exercise: str, name: str) -> Check:
        """The check or the price of that name."""
        (owner,) = [candidate for candidate in self.everything if candidate.name == exercise]
        (found,) = [check for check in (*owner.checks, *owner.price_checks) if check.name == name]
        return found

    def stub(self, exercise: str) -> str:
        """The source of what a learner starts from."""
        return self.stub_file(exercise).read_text(encoding="utf-8")

    def stub_file(self, exercise: str) -> Path:
        """The file with the stub."""
        return self.folder / exercise / "stub.py"

    def lesson_file(self, exercise: str) -> Path:
        """The file with the lesson, as Markdown."""
        return self.folder / exercise / "lesson.md"

    def explain(self, diagnosis: Diagnosis) -> Diagnosis:
        """The diagnosis with the remedy and the section of its code, where it has none of its own.

        Raises KeyError if there is no such code.
        """
        code = self.codes[diagnosis.code]
        return dataclasses.replace(
            diagnosis, remedy=diagnosis.remedy or code.remedy, anchor=diagnosis.anchor or code.anchor
        )


def install_libtpu() -> str:
    """A sentence about how to install what the layer tpu_compile needs."""
    return f"`{install_command('tpu')}` installs it (Linux on x86-64). You need the TPU compiler, and no TPU."


def available(checks: Iterable[Check]) -> tuple[Check, ...]:
    """The checks that this machine can make."""
    return tuple(check for check in checks if check.is_available)


def not_checked(checks: Iterable[Check]) -> str:
    """A sentence about the checks that this machine cannot make; empty if it can make all."""
    left_out = [check for check in checks if not check.is_available]
    if not left_out:
        return ""
    number = f"{len(left_out)} checks" if len(left_out) > 1 else "1 check"
    names = ", ".join(dict.fromkeys(check.exercise for check in left_out))
    return f"Not checked: {number} of the layer tpu_compile ({names}), because libtpu is missing. {install_libtpu()}"
