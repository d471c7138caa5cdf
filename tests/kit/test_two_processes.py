"""Processes that the exercise `multihost` is tried in: what is said of those that die, crash, or wait for each other."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.errors import UserError

STAYS = "import sys; sys.stdin.read()"
FAILED = {"code": "MULTIHOST_NOT_WHOLE", "cause": "It is not.", "headings": ["yours"], "rows": [["0"]], "advice": ""}


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Begins two processes that run these programs, and have said this before."""
    from kit.course.multihost import checks as multihost
    from kit.course.multihost.training_process import Request

    monkeypatch.setattr(multihost, "START", 0.5)
    begun = []

    def begin(programs: tuple[str, str], said: tuple[list[dict], list[dict]]) -> Any:
        requests = [Request("reference", number, str(tmp_path)) for number in (0, 1)]
        found = multihost._Processes(None, requests)  # type: ignore[arg-type]  # what a solution says is in the files
        for request, program, lines in zip(requests, programs, said, strict=True):
            request.said.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            with request.printed.open("wb") as output:
                command = [sys.executable, "-S", "-c", program]
                found.started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output))
        begun.append(found)
        return found

    yield begin
    for found in begun:
        found.end()
        assert all(process.poll() is not None for process in found.started)
        for process in found.started:
            process.stdin.close()


def at(what: str, limit: float = 60) -> dict[str, Any]:
    return {"doing": what, "limit": limit}


def diagnosis_of(processes: Any) -> Any:
    from kit.checks.diagnosis import Failed

    with pytest.raises(Failed) as raised:
        processes.wait()
    return raised.value.diagnosis


def test_a_death_is_told_before_what_it_does_to_the_other(processes: Any) -> None:
    dies = "print('[Gloo] is connected'); print('good bye'); raise SystemExit(7)"
    found = processes((STAYS, dies), ([at("step 1")], [at("step 1")]))
    found.started[1].wait(20)
    # The other has lost its connection, and says so.
    with found.requests[0].said.open("a") as file:
        file.write(json.dumps({"diagnosis": FAILED}) + "\n")
    told = diagnosis_of(found)
    assert told.code == "EXERCISE_ENDED_THE_PROCESS"
    assert "Process 1 of 2 ended with exit code 7" in told.cause
    assert told.rows == (("step 1", "good bye"),)


def test_what_one_process_finds_is_the_verdict(processes: Any) -> None:
    told = diagnosis_of(processes((STAYS, STAYS), ([at("step 1")], [at("whole_value"), {"diagnosis": FAILED}])))
    assert (told.code, told.cause, told.rows) == ("MULTIHOST_NOT_WHOLE", "It is not.", (("0",),))


def test_a_crash_says_in_which_process_and_where(processes: Any) -> None:
    told = diagnosis_of(processes((STAYS, STAYS), ([at("step 2"), {"crashed": "ValueError: no"}], [at("step 2")])))
    assert told.code == "EXERCISE_CRASHED"
    assert "Process 0 of 2 failed" in told.cause
    assert told.rows == (("step 2",),)


@pytest.mark.parametrize("other", [at("step 3", 0.2), {"result": {}}])
def test_processes_that_wait_are_told_where(processes: Any, other: dict[str, Any]) -> None:
    """For each other, or for one that is at its end."""
    told = diagnosis_of(processes((STAYS, STAYS), ([at("whole_value of an array", 0.3)], [other])))
    assert told.code == "MULTIHOST_PROCESSES_HANG"
    assert told.rows == (("0", "whole_value of an array"), ("1", other.get("doing", "its end")))


def test_what_is_no_fault_of_a_solution_is_no_diagnosis(processes: Any) -> None:
    with pytest.raises(UserError, match="could not be made: it is not who it should be"):
        processes((STAYS, STAYS), ([at("step 1")], [{"error": "it is not who it should be"}])).wait()
    with pytest.raises(UserError, match=r"process 0 ended with 1 before it began \(no module\)"):
        processes(("raise SystemExit('no module')", STAYS), ([], [])).wait()


def test_results_are_given_by_process(processes: Any) -> None:
    found = processes((STAYS, STAYS), ([at("step 1"), {"result": {"rows": [0]}}], [{"result": {"rows": [1]}}]))
    assert found.wait() == [{"rows": [0]}, {"rows": [1]}]
