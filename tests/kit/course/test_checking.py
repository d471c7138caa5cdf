"""Which checks `kit check` runs, and where it stops."""

from pathlib import Path

import pytest
from exercise_folder import source_of, write_exercises

from kit.checks.diagnosis import Failed
from kit.course.board import CheckRun
from kit.course.catalogue import catalogue
from kit.course.checking import answers, checks_to_run, what_to_do
from kit.errors import UserError
from kit.judge.catalogue import available
from kit.judge.runner import Runner, Verdict


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_exercises(tmp_path / "mine")


def names(folder: Path, everything: bool = False) -> list[str]:
    return list(checks_to_run(None, (), everything, str(folder), "cpu"))


def test_a_named_exercise_gets_the_checks_that_pytest_runs(folder: Path) -> None:
    found = checks_to_run("layout", (), False, str(folder), "cpu")
    assert found == {"layout": list(available(catalogue().checks_of("layout")))}
    (checks,) = checks_to_run("layout", ("spec", "params"), False, str(folder), "cpu").values()
    assert {check.layer for check in checks} == {"spec"}
    assert [check.name for check in checks_to_run("run", (), False, str(folder), "cpu")["run"]] == [
        "style_shift",
        "control",
    ]


def test_without_a_name_what_is_begun_and_has_not_passed_is_checked(folder: Path) -> None:
    assert names(folder) == ["mesh"]
    for exercise, solution in (("reviews", "labels_kept"), ("mesh", "right_numpy_grid"), ("lora", "right_by_shapes")):
        (folder / f"{exercise}.py").write_text(source_of(exercise, solution))
    assert names(folder) == ["mesh", "reviews", "lora"]
    run = CheckRun(str(folder))
    for check in catalogue().checks_of("mesh"):
        run.add(Verdict(check, None))
    run.close()
    assert names(folder) == ["reviews", "lora"]
    assert names(folder, everything=True) == list(catalogue().names)
    assert list(checks_to_run(None, (), False, "reference", "cpu")) == list(catalogue().names)


@pytest.mark.parametrize(
    ("exercise", "layers", "message"),
    [
        ("mehs", (), "no exercise 'mehs': did you mean mesh"),
        ("mesh", ("specs",), "no layer 'specs': did you mean spec"),
        ("mesh", ("train",), "nothing to check in the layer train: mesh"),
        ("run", ("tpu",), "nothing to check in the layer tpu: run"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence(
    folder: Path, exercise: str, layers: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        checks_to_run(exercise, layers, False, str(folder), "cpu")


def run_all(folder: Path, checks: dict, everything: bool = False) -> list[tuple[str, str, bool]]:
    begun = []
    with Runner(catalogue()) as runner:
        found = [
            (answer.verdict.check.exercise, answer.verdict.diagnosis, answer.is_repeated)
            for answer in answers(
                runner, checks, str(folder), CheckRun(str(folder)), lambda *begins: begun.append(begins), everything
            )
        ]
    assert len(begun) == len(found)
    return [(name, diagnosis.code if diagnosis else "", repeated) for name, diagnosis, repeated in found]


def test_it_stops_at_the_first_mistake_and_not_at_what_is_not_written(folder: Path) -> None:
    (folder / "mesh.py").write_text(source_of("mesh", "import_error"))
    checks = checks_to_run("lora", (), False, str(folder), "cpu") | checks_to_run("mesh", (), False, str(folder), "cpu")
    # The first function of lora is open, so all of its checks are reported; mesh comes after it.
    assert run_all(folder, checks) == [("lora", "NOT_IMPLEMENTED", False)] * 3 + [("lora", "NOT_IMPLEMENTED", True)] * 3
    (folder / "lora.py").unlink()
    assert run_all(folder, checks) == [("lora", "EXERCISE_DOES_NOT_IMPORT", False)]
    found = run_all(folder, checks, everything=True)
    assert [code for name, code, _ in found] == ["EXERCISE_DOES_NOT_IMPORT"] * 10
    assert [repeated for name, _, repeated in found] == [False] + [True] * 5 + [False] + [True] * 3


def test_what_to_do_about_this_machine_is_no_line_of_the_learner(folder: Path) -> None:
    check = catalogue().find_check("mesh", "shape")
    failed = Failed("COULD_NOT_BE_JUDGED", "It cannot run.", remedy="Run `kit doctor`.")
    assert what_to_do(Verdict(check, failed.diagnosis), str(folder)) == "Next: Run `kit doctor`."


def test_what_to_do_names_the_learners_line(folder: Path) -> None:
    (folder / "mesh.py").write_text("def make_device_mesh(batch, model, devices=None):\n    return 1 / 0\n")
    with Runner(catalogue()) as runner:
        crashed = runner.run(str(folder), catalogue().find_check("mesh", "shape"))
        open_task = runner.run(str(folder), catalogue().checks_of("lora")[0])
    assert f"{folder / 'mesh.py'}:2" in what_to_do(crashed, str(folder))
    assert f"`kit check mesh --impl={folder}`" in what_to_do(crashed, str(folder))
    assert what_to_do(open_task, str(folder)).startswith(f"Next: write enable_lora ({folder / 'lora.py'}:")
