"""All parts together: the tutorial end to end, as `kit run` runs it, its control, and the tutorial itself on a TPU."""

from collections.abc import Callable

import pytest

from kit.checks.catalog import RUN, Check, checks_of


@pytest.mark.parametrize(
    "check", [pytest.param(check, id=check.id, marks=getattr(pytest.mark, check.layer)) for check in checks_of(RUN)]
)
def test_run(check: Check, judge: Callable[[Check], None]) -> None:
    judge(check)
