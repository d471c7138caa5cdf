"""The questions of `kit predict`, their answers and their explanations."""

import math

import pytest

from kit.course.catalogue import catalogue
from kit.course.measuring import Measurements
from kit.course.predictions import BYTES, Question, question, questions
from kit.errors import UserError

CORE = [exercise.name for exercise in catalogue().exercises if not exercise.advanced]
#: What each question measures, calculated by hand; None: it is a fact about the reviews.
MEASURED = {
    "mesh": {"column": 2, "same_slice": 2, "meshes": 4},
    "layout": {"bundled": (1_311_872 - 9 * 128) * 4 / 8 + 9 * 128 * 4, "missed_rule": 28 * 3072 * 24_576 * 4 * 7 / 8},
    "loading": {"early_shards": 1, "all_reduces": 2 * 4 + 1},
    "reviews": {"positive": 0, "markup": None},
    "lora": {"rank_4": 2 * 4 * (8 * 128 * 4 + 4 * 16), "rank_8": 2 * 4 * (8 * 128 * 8 + 8 * 16)},
    "training": {"loss": math.log(8) / 2, "accuracy": 0.5},
    "generation": {"prompt": 10, "new": 24 - 10 - 1, "uniform": -math.log(2048)},
    "checkpoint": {"adapters": "others", "arrays": 2 + 2 * 16},
}
TOY = Question("toy", "How many?", lambda: 2.0, "It is two.", within=0.1, mistakes={"4": "That is its square."})
SIZE = Question("size", "How large?", lambda: 5e6, "It is large.", BYTES)
CHOICE = Question("choice", "Which?", lambda: "others", "It is so.", choices=("the same", "others"))


@pytest.mark.parametrize("exercise", CORE)
def test_every_question_measures_what_it_explains(exercise: str) -> None:
    asked = questions(exercise)
    assert {one.name for one in asked} == MEASURED[exercise].keys()
    with Measurements(exercise, [one.name for one in asked]) as measurements:
        for one in asked:
            measured, expected = measurements.wait_for(one.name), MEASURED[exercise][one.name]
            if expected is not None:
                assert one.is_right(expected, measured), (one.name, measured)
            assert one.explains in one.explain(measured, measured)
            for mistake, sentence in one.mistakes.items():
                answer = one.parse(mistake)
                assert not one.is_right(answer, measured), mistake
                assert one.explain(answer, measured).startswith(sentence)


def test_answers() -> None:
    assert TOY.parse(" 2,000 ") == 2000
    assert TOY.parse("−1.5e3") == -1500
    assert [SIZE.parse(text) for text in ("5 MB", "5000kB", "5000000", "5e6 bytes")] == [5e6] * 4
    assert CHOICE.parse("same") == CHOICE.parse("The same") == "the same"
    for one, text in ((TOY, "two"), (TOY, ""), (TOY, "2 MB"), (SIZE, "5 TB"), (CHOICE, "neither"), (CHOICE, "")):
        with pytest.raises(UserError, match=f"is no answer to {one.name}: "):
            one.parse(text)


def test_explanations() -> None:
    assert TOY.is_right(2.1, 2.0)
    assert not TOY.is_right(2.3, 2.0)
    assert TOY.explain(2.0, 2.0) == TOY.explain(7.0, 2.0) == "It is two."
    assert TOY.explain(4.0, 2.0) == "That is its square. It is two."
    assert [TOY.show(value) for value in (2.0, 1.25, 12345.0)] == ["2", "1.25", "12,345"]
    assert SIZE.show(5e6) == "5.0 MB"


def test_unknown() -> None:
    assert questions("planning") == ()
    assert question("mesh", "nothing") is None
    with pytest.raises(UserError, match="nothing"):
        questions("nothing")


def test_a_measurement_that_fails() -> None:
    with Measurements("mesh", ["nothing"]) as measurements, pytest.raises(UserError, match="could not be measured"):
        measurements.wait_for("nothing")
