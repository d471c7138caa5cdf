"""How much text the style evidence is measured on."""

import os

import pytest

from kit.data.films import list_prompts
from kit.errors import UserError
from kit.run.evidence_size import (
    FULL,
    PARAMETERS_PER_CORE,
    QUICK,
    check_evidence,
    choose_evidence_size,
    describe_choice,
)


def test_the_prompts_of_a_size() -> None:
    prompts = list_prompts()
    assert FULL.of_prompts(prompts) == prompts
    quick = QUICK.of_prompts(prompts)
    assert len(quick) == QUICK.prompts == len(set(quick))
    assert quick[0] == prompts[0]
    assert set(quick) <= set(prompts)


def test_a_large_model_on_a_cpu_gets_the_quick_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    limit = 2 * PARAMETERS_PER_CORE
    assert choose_evidence_size("auto", limit, simulated=True) == FULL
    assert choose_evidence_size("auto", limit + 1, simulated=True) == QUICK
    assert choose_evidence_size("auto", limit + 1, simulated=False) == FULL
    assert choose_evidence_size("full", limit + 1, simulated=True) == FULL
    assert choose_evidence_size("quick", 1, simulated=False) == QUICK


def test_only_a_choice_that_measures_less_is_reported() -> None:
    assert "8 prompts and 24 held-out texts" in describe_choice(QUICK, "auto", 268_098_176)
    assert not describe_choice(FULL, "auto", 1)
    assert not describe_choice(QUICK, "quick", 268_098_176)


def test_an_unknown_size() -> None:
    with pytest.raises(UserError, match="--evidence much: choose one of auto, quick, full"):
        check_evidence("much")
