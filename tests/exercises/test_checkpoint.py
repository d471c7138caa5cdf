"""Checks of the exercise `checkpoint`; `kit lesson checkpoint` says what they ask."""

from collections.abc import Callable

import pytest

from kit.checks.catalog import Check, checks_of


@pytest.mark.parametrize(
    "check",
    [pytest.param(check, id=check.id, marks=getattr(pytest.mark, check.layer)) for check in checks_of("checkpoint")],
)
def test_checkpoint(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
