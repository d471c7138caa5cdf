"""Whether a function exists and its signature accepts the calls of its exercise."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kit.checks.diagnosis import Failed
from kit.judge.catalogue import Function
from kit.judge.observation import Outcome, Returned, Stopped, returned

if TYPE_CHECKING:
    from kit.judge.submission import Submission


@dataclass(frozen=True)
class Signature:
    """The signature of a function as data."""

    #: Name, value of ``inspect._ParameterKind``, and whether there is a default.
    parameters: tuple[tuple[str, int, bool], ...]
    #: As Python writes it.
    text: str


def observe_interface(submission: "Submission", name: str) -> Outcome[Signature | None]:
    """The signature of a function of a solution; None for a callable that has none."""
    try:
        return Returned(signature_of(submission.function(name)))
    except Failed as failed:
        return Stopped(failed.diagnosis)


def judge_interface(outcome: Outcome[Signature | None], wanted: Function) -> None:
    """The function takes its arguments by position and by name."""
    expect_signature(returned(outcome), wanted)


def signature_of(function: Callable[..., Any]) -> Signature | None:
    """The signature of a function; None for a callable that has none."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    parameters = tuple(
        (name, int(parameter.kind), parameter.default is not parameter.empty)
        for name, parameter in signature.parameters.items()
    )
    return Signature(parameters, str(signature))


def expect_signature(found: Signature | None, wanted: Function) -> None:
    """Make sure that a signature, if there is one, accepts the calls of an exercise."""
    if found is None:
        return
    kinds = {int(kind): kind for kind in inspect._ParameterKind}
    signature = inspect.Signature(
        [
            inspect.Parameter(name, kinds[kind], default=None if has_default else inspect.Parameter.empty)
            for name, kind, has_default in found.parameters
        ]
    )
    for args, kwargs in wanted.calls:
        call = f"{wanted.name}({', '.join((*args, *(f'{argument}=…' for argument in kwargs)))})"
        arguments: dict[str, Any] = dict.fromkeys(kwargs)
        try:
            signature.bind(*args, **arguments)
        except TypeError as error:
            cause = f"{wanted.name} cannot be called as {call}: {error}."
            raise Failed(
                "SIGNATURE_DOES_NOT_FIT", cause, ("called as", "yours"), [(call, f"{wanted.name}{found.text}")]
            ) from None
