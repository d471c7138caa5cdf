"""What is wrong with the machine is not said of a solution."""

from pathlib import Path

import pytest
from exercise_folder import reference_source, source_of

from kit.checks.diagnosis import Diagnosis
from kit.course.catalogue import catalogue
from kit.judge.runner import Runner
from kit.runtime.compiled_programs import cache_folder


def diagnosis_of(folder: Path, exercise: str, name: str, source: str) -> Diagnosis | None:
    (folder / f"{exercise}.py").write_text(source, encoding="utf-8")
    with Runner(catalogue()) as runner:
        return runner.run(str(folder), catalogue().find_check(exercise, name)).diagnosis


def expect_this_machine(found: Diagnosis | None, reason: str) -> None:
    assert found is not None
    assert found.code == "COULD_NOT_BE_JUDGED"
    assert found.cause.startswith("This machine cannot run the checks, and the solution is not the cause: ")
    assert reason in found.cause
    assert "kit doctor" in found.remedy


def test_an_unknown_flag_of_xla(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_no_such_flag=1")
    found = diagnosis_of(tmp_path, "mesh", "shape", reference_source("mesh"))
    expect_this_machine(found, "Unknown flag in XLA_FLAGS: --xla_no_such_flag=1")


def test_another_keras_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "elsewhere" / "keras.py"
    other.parent.mkdir()
    other.write_text("")
    monkeypatch.setenv("PYTHONPATH", str(other.parent), prepend=":")
    found = diagnosis_of(tmp_path, "mesh", "shape", reference_source("mesh"))
    expect_this_machine(found, f"keras is imported from {other}")


def test_a_solution_that_ends_its_process_is_not_excused(tmp_path: Path) -> None:
    found = diagnosis_of(tmp_path, "mesh", "shape", source_of("mesh", "os_exit"))
    assert found is not None
    assert found.code == "EXERCISE_ENDED_THE_PROCESS"


@pytest.mark.long
def test_programs_in_the_place_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right solution passes without the cache, and the runner knows why."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    (tmp_path / "lora.py").write_text(reference_source("lora"), encoding="utf-8")
    check = catalogue().find_check("lora", "adapters")
    with Runner(catalogue()) as runner:
        assert runner.run(str(tmp_path), check).passed
        entries = sorted(cache_folder().glob("*-cache"))
        contents = [entry.read_bytes() for entry in entries]
        assert len(entries) > 3
        for entry, content in zip(entries, contents[1:] + contents[:1], strict=True):
            entry.write_bytes(content)
        assert runner.run(str(tmp_path), check).passed
        assert runner.cache_is_damaged


def test_a_parent_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any patience, importing the libraries takes too long, also for the canary."""
    monkeypatch.setattr("kit.judge.runner.SILENCE", -1e6)
    monkeypatch.setattr("kit.judge.runner.SECONDS_BETWEEN_LOOKS", 0.1)
    found = diagnosis_of(tmp_path, "mesh", "shape", reference_source("mesh"))
    expect_this_machine(found, "the process of a check did not answer")
