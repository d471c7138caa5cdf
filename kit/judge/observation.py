"""What ``observe`` returns to ``judge``: plain data, and the outcome of each call.

Plain data is numbers, text, bytes, None, NumPy arrays, and tuples, lists, dictionaries and
dataclasses of these. So an observation can cross to a process in which no learner code ever ran.
"""

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kit.checks.diagnosis import Diagnosis, Failed

Value = TypeVar("Value")

_PLAIN = (str, bytes, bool, int, float, type(None))


@dataclass(frozen=True)
class Returned(Generic[Value]):
    """A call returned, and this was read from its value."""

    data: Value


@dataclass(frozen=True)
class Raised:
    """A call raised an error of a kind that the check expects."""

    #: Name of the class.
    kind: str
    text: str


@dataclass(frozen=True)
class Stopped:
    """A call raised another error, or returned another type: the diagnosis."""

    diagnosis: Diagnosis


Outcome = Returned[Value] | Raised | Stopped


def returned(outcome: Outcome[Value]) -> Value:
    """The data of a call that returned.

    Raises Failed, with the diagnosis, if the call was stopped. Raises ValueError if it raised an
    expected error, which the judge must look at first.
    """
    expect_not_stopped(outcome)
    if isinstance(outcome, Raised):
        raise ValueError(f"the judge did not look at an expected {outcome.kind}")
    assert isinstance(outcome, Returned)
    return outcome.data


def expect_not_stopped(outcome: Outcome[Any]) -> None:
    """Pass on the diagnosis of a call that was stopped."""
    if isinstance(outcome, Stopped):
        raise Failed.of(outcome.diagnosis)


def expect_plain(value: Any, where: str = "the observation") -> None:
    """Make sure that an observation is plain data.

    Raises TypeError, naming the first value that is not.
    """
    # Checking a stub does not import NumPy; if NumPy is not imported, there can be no NumPy arrays.
    np = sys.modules.get("numpy")
    if np is not None and (type(value) is np.ndarray or isinstance(value, np.generic)):
        if value.dtype == object:
            raise TypeError(f"{where} is an array of objects")
    elif type(value) in _PLAIN:
        return
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            expect_plain(getattr(value, field.name), f"{where}.{field.name}")
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):
            expect_plain(item, f"{where}[{number}]")
    elif type(value) is dict:
        for key, item in value.items():
            expect_plain(key, f"a key of {where}")
            expect_plain(item, f"{where}[{key!r}]")
    else:
        raise TypeError(f"{where} is a {type(value).__name__}, which is not plain data")
