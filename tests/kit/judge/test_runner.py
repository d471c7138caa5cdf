"""Each check runs in its own process, and what a solution does there affects no other check."""

import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from exercise_folder import source_of, write_exercises

from kit.course.catalogue import catalogue
from kit.errors import UserError
from kit.judge.runner import PATIENCE, Runner, Stopped


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner(catalogue()) as started:
        yield started


def test_the_evidence_is_of_this_submission(runner: Runner, tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine", layout="gating_2_missed")
    verdict = runner.run(str(folder), catalogue().find_check("layout", "gemma_7b"))
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.code == "LAYOUT_MATRIX_REPLICATED"
    text = verdict.diagnosis.as_text("layout")
    # 28 matrices of 3072 x 24576 float32 numbers; the others are sharded over eight devices.
    nbytes = 28 * 3072 * 24_576 * 4
    assert f"28 x ffw_gating_2/kernel ({nbytes / 1e9:.2f} GB) of Gemma 7B" in " ".join(text.split())
    assert "decoder_block.*ffw_gating/kernel" in text
    assert "28 x ffw_gating_2/kernel, 8.46 GB, or 1.06 GB if sharded" in " ".join(text.split())
    assert 'Read: kit lesson layout "What a device holds"' in text


def test_a_check_that_began_on_an_older_file_is_dropped(runner: Runner, tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine", mesh="endless_loop")
    check = catalogue().find_check("mesh", "shape")
    runner.begin([(str(folder), check)])
    (folder / "mesh.py").write_text(source_of("mesh", "right_numpy_grid"))
    runner.forget(str(folder))
    verdict = runner.run(str(folder), check)
    assert verdict.passed
    assert verdict.seconds < check.limit


def test_an_endless_loop_costs_its_limit_once(runner: Runner, tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine", mesh="endless_loop")
    quick = dataclasses.replace(catalogue().find_check("mesh", "shape"), limit=1.0)
    first = runner.run(str(folder), quick)
    again = runner.run(str(folder), dataclasses.replace(catalogue().find_check("mesh", "devices"), limit=1.0))
    assert [verdict.diagnosis.code for verdict in (first, again) if verdict.diagnosis] == ["EXERCISE_TIMED_OUT"] * 2
    assert first.diagnosis is not None
    assert "stopped after 1 s of CPU time" in first.diagnosis.cause
    assert first.seconds >= 1
    assert again.repeated
    (folder / "mesh.py").write_text(source_of("mesh", "right_numpy_grid"))
    runner.forget(str(folder))
    assert runner.run(str(folder), quick).passed


def test_waiting_is_no_endless_loop_and_costs_ten_limits(runner: Runner, tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine", mesh="waits_for_ever")
    verdict = runner.run(str(folder), dataclasses.replace(catalogue().find_check("mesh", "shape"), limit=0.5))
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.code == "EXERCISE_WAITS"
    assert "after 5 s, of which its process used" in verdict.diagnosis.cause
    shown = dict(zip(verdict.diagnosis.headings, verdict.diagnosis.rows[0], strict=True))
    assert float(shown["CPU time"].removesuffix(" s")) < 5
    assert float(shown["waiting for a core"]) >= 0
    assert int(shown["cores"]) >= 1


def test_the_next_check_starts_clean(runner: Runner, tmp_path: Path) -> None:
    """A distribution that was set, a library that was patched, and a seed are gone."""
    folder = write_exercises(tmp_path / "mine", mesh="patches_keras")
    assert not runner.run(str(folder), catalogue().find_check("mesh", "shape")).passed
    assert runner.run("reference", catalogue().find_check("mesh", "shape")).passed


@pytest.mark.parametrize(
    ("name", "code"),
    [("right_jax_devices", None), ("os_exit", "EXERCISE_ENDED_THE_PROCESS"), ("endless_loop", "EXERCISE_TIMED_OUT")],
)
@pytest.mark.long
def test_a_fresh_python_for_each_check_where_there_is_no_fork(tmp_path: Path, name: str, code: str | None) -> None:
    """An accelerator needs this."""
    limit = 8.0 if code == "EXERCISE_TIMED_OUT" else 60.0
    with Runner(catalogue(), fork=False) as runner:
        check = dataclasses.replace(catalogue().find_check("mesh", "shape"), limit=limit)
        verdict = runner.run(str(write_exercises(tmp_path / "mine", mesh=name)), check)
    assert (verdict.diagnosis.code if verdict.diagnosis else None) == code


def test_one_device_is_an_error() -> None:
    with Runner(catalogue(), devices=1) as single, pytest.raises(UserError, match="several devices"):
        single.run("reference", catalogue().find_check("mesh", "shape"))


ENDLESS = """
import os, pathlib

def make_device_mesh(batch, model, devices=None):
    pathlib.Path({pid!r}).write_text(str(os.getpid()))
    while True:
        pass
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def endless(tmp_path: Path) -> tuple[str, Path]:
    """A solution that never returns, and the file to which it writes the number of its process."""
    folder = write_exercises(tmp_path / "mine", mesh="right_numpy_grid")
    (folder / "mesh.py").write_text(ENDLESS.format(pid=str(tmp_path / "pid")))
    return str(folder), tmp_path / "pid"


def test_a_running_check_can_be_stopped(tmp_path: Path) -> None:
    folder, pid_file = endless(tmp_path)
    check = catalogue().find_check("mesh", "shape")
    with Runner(catalogue()) as runner:
        runner.stop_now = lambda: pid_file.is_file() and bool(pid_file.read_text())
        with pytest.raises(Stopped):
            runner.run(folder, check)
        runner.stop_now = None
        Path(folder, "mesh.py").write_text(source_of("mesh", "right_numpy_grid"))
        verdict = runner.run(folder, check)
        assert verdict.passed
        assert verdict.seconds < check.limit
        assert not is_running(int(pid_file.read_text()))


def test_closing_ends_running_checks(tmp_path: Path) -> None:
    folder, pid_file = endless(tmp_path)
    runner = Runner(catalogue())
    runner.begin([(folder, catalogue().find_check("mesh", "shape"))])
    until = time.monotonic() + 60
    while not (pid_file.is_file() and pid_file.read_text()):
        assert time.monotonic() < until
        time.sleep(0.01)
    runner.close()
    assert not is_running(int(pid_file.read_text()))


def test_closing_does_not_wait_for_imports() -> None:
    """An import takes seconds; Ctrl-C must not wait for it."""
    runner = Runner(catalogue())
    runner.warm_up(catalogue().names)
    time.sleep(0.5)
    server = runner._server
    assert server is not None
    started = time.monotonic()
    runner.close()
    assert time.monotonic() - started < PATIENCE
    assert server.returncode in (0, -signal.SIGTERM)
