"""The two processes of `multihost`: reports when one dies, crashes, stops, or both wait."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.checks.diagnosis import Diagnosis
from kit.errors import UserError

STAYS = "import sys; sys.stdin.read()"


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Starts two processes that run these programs, with these lines in their reports."""
    from kit.course.multihost import process_pair
    from kit.course.multihost.process_report import Request

    monkeypatch.setattr(process_pair, "START", 0.5)
    started = []

    def start(programs: tuple[str, str], reports: tuple[list[dict], list[dict]]) -> Any:
        found = process_pair.TrainingProcesses([Request("reference", number, str(tmp_path)) for number in (0, 1)])
        for request, program, lines in zip(found.requests, programs, reports, strict=True):
            request.report.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            with request.printed.open("wb") as output:
                command = [sys.executable, "-S", "-c", program]
                found.started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output))
        started.append(found)
        return found

    yield start
    for found in started:
        found.end()
        assert all(process.poll() is not None for process in found.started)
        for process in found.started:
            process.stdin.close()


def doing(what: str, limit: float = 60) -> dict[str, Any]:
    return {"doing": what, "limit": limit}


def stopped(diagnosis: Diagnosis) -> dict[str, Any]:
    from kit.course.multihost.process_report import encode

    return {"end": "stopped", "diagnosis": encode(diagnosis)}


def rows_seen(process: int, expected: list[int], rows: list[int]) -> dict[str, Any]:
    from kit.course.multihost.process_report import RowsSeen, encode
    from kit.judge.observation import Returned

    return {"seen": encode(RowsSeen(process, [[0], [1]], expected, Returned(rows)))}


FAILED = Diagnosis("MULTIHOST_NOT_WHOLE", "It is not.", ("yours",), (("0",),))


def diagnosis_of(processes: Any) -> Any:
    from kit.checks.diagnosis import Failed
    from kit.course.multihost.process_report import judge_end

    observation = processes.wait()
    with pytest.raises(Failed) as raised:
        judge_end(observation)
    return raised.value.diagnosis


def test_a_death_comes_before_its_effect_on_the_other(processes: Any) -> None:
    dies = "print('[Gloo] is connected'); print('good bye'); raise SystemExit(7)"
    found = processes((STAYS, dies), ([doing("step 1")], [doing("step 1")]))
    found.started[1].wait(20)
    # The other has lost its connection, and reports it.
    with found.requests[0].report.open("a") as file:
        file.write(json.dumps(stopped(FAILED)) + "\n")
    diagnosis = diagnosis_of(found)
    assert diagnosis.code == "EXERCISE_ENDED_THE_PROCESS"
    assert "Process 1 of 2 ended with exit code 7" in diagnosis.cause
    assert diagnosis.rows == (("step 1", "good bye"),)


def test_a_stopped_process_passes_its_diagnosis_on(processes: Any) -> None:
    reports = ([doing("step 1")], [doing("whole_value"), stopped(FAILED)])
    diagnosis = diagnosis_of(processes((STAYS, STAYS), reports))
    assert (diagnosis.code, diagnosis.cause, diagnosis.rows) == ("MULTIHOST_NOT_WHOLE", "It is not.", (("0",),))


def test_the_judge_names_the_observation_that_stopped_a_process(processes: Any) -> None:
    """Whatever the process itself says of it."""
    reports = ([doing("own_rows"), rows_seen(0, [0, 1], [0, 2]), stopped(FAILED)], [doing("own_rows")])
    diagnosis = diagnosis_of(processes((STAYS, STAYS), reports))
    assert diagnosis.code == "MULTIHOST_WRONG_ROWS"
    assert diagnosis.rows[1:] == (("rows of 8", "[0, 1]", "[0, 2]"),)


def test_other_orders_come_before_what_they_cause(processes: Any) -> None:
    first = [{"gathers": "a"}, {"gathers": "b"}, {"end": "crashed", "text": "RuntimeError: gloo"}]
    diagnosis = diagnosis_of(processes((STAYS, STAYS), (first, [{"gathers": "a"}, {"gathers": "c"}])))
    assert diagnosis.code == "MULTIHOST_COLLECTIVES_DIFFER"
    assert diagnosis.rows == (("a", "a"), ("b", "c"))


def test_a_crash_says_in_which_process_and_where(processes: Any) -> None:
    crashed = {"end": "crashed", "text": "ValueError: no"}
    diagnosis = diagnosis_of(processes((STAYS, STAYS), ([doing("step 2"), crashed], [doing("step 2")])))
    assert diagnosis.code == "EXERCISE_CRASHED"
    assert "Process 0 of 2 failed" in diagnosis.cause
    assert "ValueError: no" in diagnosis.cause
    assert diagnosis.rows == (("step 2",),)


@pytest.mark.parametrize("other", [doing("step 3", 0.2), {"end": "finished"}])
def test_processes_that_wait_are_located(processes: Any, other: dict[str, Any]) -> None:
    """For each other, or for one that has finished. An observation does not end the limit."""
    first = [doing("whole_value of an array", 0.3), rows_seen(0, [0], [0])]
    diagnosis = diagnosis_of(processes((STAYS, STAYS), (first, [other])))
    assert diagnosis.code == "MULTIHOST_PROCESSES_HANG"
    assert diagnosis.rows == (("0", "whole_value of an array"), ("1", other.get("doing", "its end")))


def test_what_is_no_fault_of_a_solution_is_no_diagnosis(processes: Any) -> None:
    failed = processes((STAYS, STAYS), ([doing("step 1")], [{"end": "error", "text": "wrong number of devices"}]))
    with pytest.raises(UserError, match="could not be made: wrong number of devices"):
        failed.wait()
    ended = processes(("raise SystemExit('no module')", STAYS), ([], []))
    with pytest.raises(UserError, match=r"process 0 ended with 1 before it started \(no module\)"):
        ended.wait()


def test_observations_are_given_by_process(processes: Any) -> None:
    from kit.judge.observation import expect_plain

    finished = {"end": "finished"}
    reports = ([doing("step 1"), rows_seen(0, [0], [0]), finished], [rows_seen(1, [1], [1]), finished])
    observation = processes((STAYS, STAYS), reports).wait()
    expect_plain(observation)
    assert [report.seen[0].expected for report in observation.reports] == [[0], [1]]
    assert observation.sizes == (None, None)
    assert observation.saved.problem == "does not exist"


def test_observations_cross_as_json() -> None:
    from kit.course.multihost.process_report import WholeSeen, decode, encode
    from kit.judge.observation import Returned, Stopped

    array = np.arange(6, dtype="float32").reshape(2, 3)
    seen = WholeSeen(1, "an array", (2, 3), (4, (1, 3)), None, Returned(array))
    found = decode(json.loads(json.dumps(encode(seen))))
    assert (found.shape, found.shards, found.expected) == ((2, 3), (4, (1, 3)), None)
    assert found.outcome.data.dtype == np.float32
    assert np.array_equal(found.outcome.data, array)
    assert decode(json.loads(json.dumps(encode(Stopped(FAILED))))) == Stopped(FAILED)
