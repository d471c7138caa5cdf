"""Runs of `choose_run`, compared with made-up answers of the compiler."""

import dataclasses

import pytest

from kit.checks.diagnosis import Failed
from kit.course.planning import prices
from kit.course.planning.ask import Answer
from kit.course.planning.checks import judge_answer
from kit.course.planning.chosen_run import ChosenRun

RUN = ChosenRun("v6e-8", (8, 1), "bfloat16", 8, 32, True, 0.68)
#: 0.11 s for each of 1,024 steps, on 8 chips at 2.70 dollars an hour: 0.676 dollars.
ANSWER = Answer(True, 17 * 10**9, 2 * 10**9, 20 * 10**9, 33 * 10**9, 0.10, 0.08, 0.01)


def code_of(run: ChosenRun, answer: Answer) -> str:
    with pytest.raises(Failed) as raised:
        judge_answer(run, answer)
    return raised.value.diagnosis.code


def test_a_step_is_the_larger_of_compute_and_hbm_and_the_links() -> None:
    assert ANSWER.seconds == pytest.approx(0.11)
    assert dataclasses.replace(ANSWER, hbm=0.2).seconds == pytest.approx(0.21)
    assert prices.dollars("v6e-8", 0.11, 32) == pytest.approx(0.6758, abs=1e-4)


def test_the_stated_price_may_differ_by_a_tenth() -> None:
    judge_answer(RUN, ANSWER)
    judge_answer(dataclasses.replace(RUN, dollars=0.62), ANSWER)
    assert code_of(dataclasses.replace(RUN, dollars=0.60), ANSWER) == "PLANNING_WRONG_PRICE"
    assert code_of(dataclasses.replace(RUN, dollars=0.76), ANSWER) == "PLANNING_WRONG_PRICE"


def test_a_slow_step_is_too_expensive_and_a_large_one_does_not_fit() -> None:
    assert code_of(RUN, dataclasses.replace(ANSWER, links=0.05)) == "PLANNING_TOO_EXPENSIVE"
    no_program = Answer(False, 40 * 10**9, 0, 40 * 10**9, 33 * 10**9)
    assert code_of(RUN, no_program) == "PLANNING_DOES_NOT_FIT"


def test_on_paper_a_step_takes_no_longer_than_measured_operations_do() -> None:
    """Two and three blocks of Gemma 7B with remat, 16 x 512 tokens, on a v5e-8: 1.638e12 more."""
    run = ChosenRun("v5e-8", (1, 8), "bfloat16", 4, 16, True, 0.0)
    compute, _ = prices.least_seconds(run)
    block_share = 276_836_352 / 8_548_748_288
    assert compute * block_share < 1.638e12 / 1.97e14 < 1.15 * compute * block_share
