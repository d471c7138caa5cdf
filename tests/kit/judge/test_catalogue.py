"""The types of a catalogue: functions of the contract, and the remedy of a diagnosis."""

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import pytest

from kit.checks.diagnosis import Failed
from kit.errors import UserError
from kit.installation import install_command
from kit.judge.catalogue import WHOLE_RUN, Catalogue, Check, Exercise, Function, not_checked


class Contract(Protocol):
    def first(self, a: int, b: int = 0, *, c: int) -> None: ...

    def second(self, **options: Any) -> None: ...


EXERCISE = Exercise(
    number=1,
    name="toy",
    title="A toy",
    difficulty=1,
    minutes=1,
    prerequisites=(),
    contract=Contract,
    hints=(),
    questions={
        ("train", "first", 10): {"learns": "It must learn."},
        ("params", "second", 10): {"counts": "It must count."},
    },
    remedies={"Doing": {"TOY_WRONG": "Do it right."}},
)
RUN = Exercise(2, WHOLE_RUN, "The run", 1, 0, (), None, (), {("style", "", 900): {"shift": "It must shift."}})
CATALOGUE = Catalogue("here:CATALOGUE", "here", Path(), (EXERCISE, RUN))


def test_functions_come_from_the_contract() -> None:
    assert EXERCISE.functions == (Function("first", ("a", "b"), 1, ("c",)), Function("second", (), 0, ("dtype",)))
    assert [function.arguments for function in EXERCISE.functions] == ["a, b and c", "dtype"]
    assert EXERCISE.functions[0].calls == ((("a", "b"), ("c",)), (("a",), ()), ((), ("a", "b", "c")))


def test_each_function_has_an_interface_check_and_cheap_layers_come_first() -> None:
    assert [(check.name, check.layer, check.exercise) for check in EXERCISE.checks] == [
        ("interface_of_first", "interface", "toy"),
        ("interface_of_second", "interface", "toy"),
        ("counts", "params", "toy"),
        ("learns", "train", "toy"),
    ]


def test_the_whole_run_is_no_exercise_and_has_checks() -> None:
    assert CATALOGUE.names == ("toy",)
    assert [check.name for check in CATALOGUE.checks_of(WHOLE_RUN)] == ["shift"]


def test_an_unknown_exercise_is_one_sentence() -> None:
    with pytest.raises(UserError, match="There is no exercise 'tay': did you mean toy"):
        CATALOGUE.find("tay")
    with pytest.raises(UserError, match="Which exercise"):
        CATALOGUE.find(None)


def test_a_diagnosis_gets_the_remedy_and_the_section_of_its_code() -> None:
    found = CATALOGUE.explain(Failed("TOY_WRONG", "It is wrong.").diagnosis)
    assert (found.remedy, found.anchor) == ("Do it right.", "toy#Doing")
    assert CATALOGUE.explain(Failed("TOY_WRONG", "It is wrong.", remedy="Look here.").diagnosis).remedy == "Look here."
    with pytest.raises(KeyError):
        CATALOGUE.explain(Failed("TOY_UNKNOWN", "What is this?").diagnosis)


def test_a_layer_that_this_machine_cannot_check_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [
        Check("fits", "tpu_compile", "f", 1.0, "It fits.", "toy"),
        Check("counts", "params", "f", 1.0, "It.", "toy"),
    ]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sentence = not_checked(checks)
    assert sentence.startswith("Not checked: 1 check of the layer tpu_compile (toy), because libtpu is missing.")
    assert install_command("tpu") in sentence
    assert not_checked(checks[1:]) == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert not_checked(checks) == ""
