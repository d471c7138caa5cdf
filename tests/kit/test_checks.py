"""The checks as a learner meets them: panels, isolation, and a copy of the kit without its solution."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.judge.catalogue import LAYERS, can_be_made, checks_of, find_check
from kit.checks.codes import CODES
from kit.checks.diagnosis import Diagnosis, Failed
from kit.judge.runner import Runner
from kit.dev.proof import CHAFFS_FOLDER, find_chaffs
from kit.course.regions import STUBS_FOLDER, cut, find_regions, missing_functions, untouched
from kit.parts.implementation import EXERCISE_FUNCTIONS, PARTS

ROOT = Path(__file__).parents[2]
#: Right solutions that import nothing of kit/reference.
ALONE = {
    "mesh": "right_numpy_grid",
    "layout": "right_exact_paths",
    "loading": "right_in_steps",
    "reviews": "right_numpy",
    "lora": "right_by_shapes",
    "training": "right_own_adamw",
    "generation": "right_own_decoding",
    "checkpoint": "right_numpy_files",
    "planning": "right_by_shapes",
    "clinic": "right_exact_paths",
    "precision": "right_subclass_in_float32",
    "multihost": "right_process_allgather",
}


def pytest_on(impl: Path | str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--impl={impl}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def folder_of(tmp_path: Path, **chaffs: str) -> Path:
    """Stubs, and for some exercises a chaff."""
    folder = tmp_path / "mine"
    shutil.copytree(STUBS_FOLDER, folder)
    for exercise, name in chaffs.items():
        shutil.copy(CHAFFS_FOLDER / exercise / f"{name}.py", folder / f"{exercise}.py")
    return folder


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as started:
        yield started


class TestStubs:
    def test_a_stub_is_one_line_and_nothing_else(self, tmp_path: Path) -> None:
        finished = pytest_on(STUBS_FOLDER)
        assert finished.returncode == 1
        failures = re.findall(r"^_{3,} (test_.*) _{3,}$", finished.stdout, re.M)
        asked = [check for name in (*EXERCISE_FUNCTIONS, "run") for check in checks_of(name) if can_be_made(check)]
        assert len(failures) == len([check for check in asked if check.layer != "tpu"])
        lines = re.findall(r"^NOT_IMPLEMENTED: .*$", finished.stdout, re.M)
        assert len(lines) == len(failures)
        assert "Traceback" not in finished.stdout + finished.stderr
        assert "make_device_mesh (line 22) is still to be written; `kit hint mesh` helps." in finished.stdout

    def test_no_framework_is_imported_for_it(self) -> None:
        code = (
            "import sys, pytest\n"
            f"pytest.main(['-q', '-p', 'no:cacheprovider', '--impl={STUBS_FOLDER}', 'tests/exercises'])\n"
            "print(sorted(set(sys.modules) & {'jax', 'keras', 'tensorflow', 'numpy'}))"
        )
        finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
        assert finished.stdout.splitlines()[-1] == "[]"

    def test_cutting(self) -> None:
        source = (
            'def f(x):\n    """Doc."""\n    # region task 1\n    #: Say it.\n    y = x\n    # endregion\n    return y\n'
        )
        (region,) = find_regions(source)
        assert (region.task, region.text, region.start, region.stop) == (1, ("Say it.",), 4, 5)
        stub = cut(source, "e")
        assert stub == (
            'def f(x):\n    """Doc."""\n    # Task 1: Say it.\n    raise NotImplementedError("e, task 1")\n    return y\n'
        )
        assert missing_functions(stub + "\n\ndef g():\n    return f(1)\n", "e") == {"f": 4, "g": 4}
        with pytest.raises(ValueError, match="line 1: a region ends"):
            find_regions("# endregion\n")
        with pytest.raises(ValueError, match="is not closed"):
            find_regions("# region task 1\n#: x\n")

    def test_only_what_is_as_it_was_is_untouched(self) -> None:
        stub = (STUBS_FOLDER / "lora.py").read_text()
        assert untouched(stub, "lora").keys() == set(PARTS["lora"])
        assert untouched(stub.replace("def enable_lora", "# mine\ndef enable_lora"), "lora").keys() == set(
            PARTS["lora"]
        )
        changed = stub.replace('    raise NotImplementedError("lora, task 1")', "    pass")
        assert untouched(changed, "lora").keys() == set(PARTS["lora"]) - {"enable_lora"}
        # A name may come from another module.
        assert "enable_lora" not in untouched("from elsewhere import enable_lora\n", "lora")


class TestPanels:
    def test_the_evidence_is_of_this_submission(self, runner: Runner, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, layout="gating_2_missed")
        verdict = runner.run(str(folder), find_check("layout", "gemma_7b"))
        assert verdict.diagnosis is not None
        assert verdict.diagnosis.code == "LAYOUT_MATRIX_REPLICATED"
        panel = verdict.diagnosis.as_text("layout")
        # 28 matrices of 3072 x 24576 float32 numbers; what is left is split over eight.
        nbytes = 28 * 3072 * 24_576 * 4
        cause = f"The layout replicates 28 matrices of Gemma 7B on the mesh (1, 8): {nbytes / 1e9:.2f} GB on each device."
        assert cause in " ".join(panel.split())
        assert "decoder_block.*ffw_gating/kernel" in panel
        assert "decoder_block_0/ffw_gating_2/kernel" in panel
        assert 'Read: kit lesson layout "What a device holds"' in panel

    def test_a_code_is_known(self) -> None:
        with pytest.raises(ValueError, match="no code NO_SUCH_CODE"):
            Failed("NO_SUCH_CODE", "cause")

    def test_a_diagnosis_crosses_a_pipe(self) -> None:
        made = Failed("MESH_WRONG_SHAPE", "cause", ("a", "b"), [(1, (2, 3))]).diagnosis
        assert made.rows == (("1", "(2, 3)"),)
        assert Diagnosis.from_dict(made.as_dict()) == made

    def test_every_code_has_a_remedy(self) -> None:
        assert len(CODES) > 55
        assert not [code for code, entry in CODES.items() if not entry.remedy.endswith(".")]


class TestOracles:
    def test_what_a_device_is_to_hold_is_what_the_compiler_found(self, devices: list[str]) -> None:
        """The oracle of the exercise planning, which counts Keras' variables, beside what the TPU compiler was seen to hold."""
        from kit.course.shared import tpu_step as tpu
        from kit.course.planning.argument_bytes import Configuration, expected_nbytes
        from kit.course.planning.checks import TOLERANCE
        from kit.models.architectures import GEMMA_7B, gemma_config

        few = gemma_config(**{**GEMMA_7B["config"], "num_layers": tpu.LAYERS})
        found = json.loads(tpu.GOLDEN_FILE.read_text())
        assert found
        for version, golden in found.items():
            for name, rank in tpu.RANKS.items():
                held = expected_nbytes(Configuration("Gemma 7B", few, (1, 8), rank, "float32"))
                assert held == pytest.approx(golden[name]["arguments"], rel=TOLERANCE), (version, name)

    def test_all_reduces_go_in_a_straight_line(self) -> None:
        from kit.course.planning.all_reduce_bytes import COMPILED, compiled_activations

        assert [compiled_activations(layers, 4) for layers in (1, 2, 3, 28)] == [5, 9, 13, 113]
        assert [compiled_activations(layers, 0) for layers in (1, 2, 3, 28)] == [6, 10, 14, 114]
        for (layers, rank), nbytes in COMPILED.items():
            assert nbytes == pytest.approx(compiled_activations(layers, rank) * 2 * 128 * 3072 * 4, rel=0.01)


class TestIsolation:
    def test_each_costs_its_exercise_alone(self, tmp_path: Path) -> None:
        """In one room: a process that ends, Python that is none, and an exercise that is right; over two workers."""
        folder = folder_of(tmp_path, mesh="os_exit", reviews="right_numpy")
        (folder / "lora.py").write_text("import sys\nsys.exit(0)\n")
        (folder / "layout.py").write_text("def gemma_layout_map(:\n")
        tests = [f"tests/exercises/test_{name}.py" for name in ("mesh", "layout", "reviews", "lora")]
        finished = pytest_on(folder, *tests, "-n", "2", "-m", "not program")
        passed = len(checks_of("reviews")) + 1  # the interface of mesh is there
        failed = sum(can_be_made(check) for name in ("mesh", "layout", "lora") for check in checks_of(name)) - 2
        assert f"{failed} failed, {passed} passed" in finished.stdout.splitlines()[-1]
        for text in (
            "EXERCISE_ENDED_THE_PROCESS: mesh.py ended the process with exit code 0",
            "EXERCISE_ENDED_THE_PROCESS: ",
            "EXERCISE_DOES_NOT_IMPORT: ",
        ):
            assert text in finished.stdout
        assert "Traceback" not in finished.stdout

    def test_the_same_panel_is_shown_once(self, tmp_path: Path) -> None:
        finished = pytest_on(folder_of(tmp_path, mesh="import_error"), "tests/exercises/test_mesh.py")
        shown, _, summary = finished.stdout.partition("short test summary info")
        assert shown.count("No module named 'kerass'") == 1
        assert "Read: kit lesson" not in summary
        assert shown.count("EXERCISE_DOES_NOT_IMPORT: same as in tests/exercises/test_mesh.py::test_mesh[") == 3

    def test_what_was_begun_on_an_older_file_is_dropped(self, runner: Runner, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, mesh="endless_loop")
        check = find_check("mesh", "shape")
        runner.begin([(str(folder), check)])
        shutil.copy(CHAFFS_FOLDER / "mesh" / "right_numpy_grid.py", folder / "mesh.py")
        runner.forget(str(folder))
        verdict = runner.run(str(folder), check)
        assert verdict.passed
        assert verdict.seconds < check.limit

    def test_a_loop_is_waited_for_once(self, runner: Runner, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, mesh="endless_loop")
        quick = dataclasses.replace(find_check("mesh", "shape"), limit=1.0)
        first = runner.run(str(folder), quick)
        again = runner.run(str(folder), dataclasses.replace(find_check("mesh", "devices"), limit=1.0))
        assert [verdict.diagnosis.code for verdict in (first, again) if verdict.diagnosis] == ["EXERCISE_TIMED_OUT"] * 2
        assert 1 <= first.seconds < 5
        assert again.repeated
        shutil.copy(CHAFFS_FOLDER / "mesh" / "right_numpy_grid.py", folder / "mesh.py")
        runner.forget(str(folder))
        assert runner.run(str(folder), quick).passed

    def test_what_a_child_leaves_is_not_there_for_the_next(self, runner: Runner, tmp_path: Path) -> None:
        """A distribution that was set, a library that was patched, a seed."""
        folder = folder_of(tmp_path, mesh="patches_keras")
        assert not runner.run(str(folder), find_check("mesh", "shape")).passed
        assert runner.run("reference", find_check("mesh", "shape")).passed

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("right_jax_devices", None),
            ("os_exit", "EXERCISE_ENDED_THE_PROCESS"),
            ("endless_loop", "EXERCISE_TIMED_OUT"),
        ],
    )
    @pytest.mark.long
    def test_where_there_is_no_fork(self, tmp_path: Path, name: str, code: str | None) -> None:
        """The way that an accelerator takes: a Python anew for each check."""
        limit = 8.0 if code == "EXERCISE_TIMED_OUT" else 60.0
        with Runner(fork=False) as alone:
            check = dataclasses.replace(find_check("mesh", "shape"), limit=limit)
            verdict = alone.run(str(folder_of(tmp_path, mesh=name)), check)
        assert (verdict.diagnosis.code if verdict.diagnosis else None) == code

    def test_one_device_is_an_error(self) -> None:
        from kit.errors import UserError

        with Runner(devices=1) as single, pytest.raises(UserError, match="The checks need several devices"):
            single.run("reference", find_check("mesh", "shape"))


class TestWithoutTheSolution:
    def test_every_exercise_is_checked(self, tmp_path: Path) -> None:
        """A student's copy. Here all interfaces, and the cheap checks of four exercises; the others take the same way."""
        copy = tmp_path / "copy"
        shutil.copytree(ROOT / "kit", copy / "kit", ignore=shutil.ignore_patterns("reference", "__pycache__"))
        shutil.copytree(ROOT / "tests" / "exercises", copy / "tests" / "exercises")
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / name, copy)
        chaffs = {(chaff.exercise, chaff.name): chaff for chaff in find_chaffs()}
        (copy / "exercises").mkdir()
        for exercise, name in ALONE.items():
            assert "kit.reference" not in chaffs[exercise, name].file.read_text()
            shutil.copy(CHAFFS_FOLDER / exercise / f"{name}.py", copy / "exercises" / f"{exercise}.py")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "not program and not train and not tpu_compile",
        ]
        command += ["-k", "interface or test_mesh or test_layout or test_reviews or test_lora"]
        finished = subprocess.run(
            command, capture_output=True, text=True, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, check=False
        )
        cheap = [
            check
            for name in EXERCISE_FUNCTIONS
            for check in checks_of(name)
            if check.layer == "interface"
            or (name in ("mesh", "layout", "reviews", "lora") and check.layer not in ("program", "tpu_compile"))
        ]
        assert f"{len(cheap)} passed" in finished.stdout.splitlines()[-1], finished.stdout
        assert not (copy / "kit" / "reference").exists()


class TestCommandLine:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["tests/kit"], "tests/kit are the tests of the kit itself"),
            (["--impl=nowhere"], "--impl nowhere: there is no such folder here"),
            (["--platform=tpu"], "this machine has no TPU"),
        ],
    )
    def test_a_mistake_is_one_sentence(self, arguments: list[str], message: str) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert finished.returncode == 4
        assert message in finished.stderr
        assert "Traceback" not in finished.stderr

    def test_layers_are_cheap_ones_first(self) -> None:
        for exercise in EXERCISE_FUNCTIONS:
            layers = [list(LAYERS).index(check.layer) for check in checks_of(exercise)]
            assert layers == sorted(layers)
            assert len(layers) > len(EXERCISE_FUNCTIONS[exercise])

    def test_watch(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, mesh="right_numpy_grid", reviews="labels_kept")
        command = [sys.executable, "-c", "from kit.cli.main import main; main()", "watch", "--once", f"--impl={folder}"]
        finished = subprocess.run([*command, "mesh", "reviews", "lora"], capture_output=True, text=True, check=True)
        assert re.search(r"^mesh: all 4 passed, \d+\.\d s$", finished.stdout, re.M)
        assert re.search(r"^reviews: 1 of 5 passed, .*\nREVIEWS_LABELS_KEPT: ", finished.stdout, re.M)
        assert re.search(r"^lora: 0 of 6 passed, .*\nNOT_IMPLEMENTED: ", finished.stdout, re.M)
