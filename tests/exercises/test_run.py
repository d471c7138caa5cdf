"""All parts together: the tutorial end to end, its control, and the tutorial on a TPU."""

from kit.judge.catalogue import Check, Judge


def test_run(check: Check, judge: Judge) -> None:
    judge(check)
