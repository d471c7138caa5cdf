"""Each check runs in its own process, and what a solution does there affects no other check."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from exercise_folder import source_of, write_exercises

from kit.course.catalogue import catalogue
from kit.errors import UserError
from kit.judge.runner import Runner


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
