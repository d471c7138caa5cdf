"""The main job as a user runs it, with the settings that travel with the bundled preset, and its control."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

pytestmark = pytest.mark.style

#: Over five seeds the held-out review loss fell by 0.0363 to 0.0403 nats a token (README, "The style shift").
MARGIN = 0.03


@cache
def run(*options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """``run.json`` and ``generations.json`` of a run in a process of its own."""
    folder = Path(mkdtemp(prefix="kit-style-"))
    command = [sys.executable, "-c", "from kit.cli.main import main; main()", "run", "--json", *options]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    return result, json.loads((folder / result["folder"] / "generations.json").read_text())


def test_before_there_are_lists_and_after_there_are_reviews() -> None:
    result, generations = run()
    style = result["style"]
    assert len(generations["prompts"]) == len(generations["before"]) == len(generations["after"]) == 20
    assert style["before"]["share_of_lists"] >= 0.9
    assert style["after"]["share_of_reviews"] >= 0.8
    assert style["shifted"]
    assert style["share_without_copies"] >= 0.8


def test_held_out_reviews_become_more_probable() -> None:
    result, _ = run()
    before, after = (result["style"][when]["log_likelihood"]["reviews"] for when in ("before", "after"))
    assert after - before >= MARGIN
    assert result["training"]["last_loss"] < result["training"]["first_loss"]


def test_lora_is_what_was_trained() -> None:
    result, _ = run()
    assert result["settings"]["rank"] == 4
    # 4 blocks x query and value x rank 4 x (8 heads x 128 + 16).
    assert result["parameters"]["tuned"]["trainable"] == 4 * 2 * 4 * (8 * 128 + 16)
    assert result["mesh"] == {"batch": 1, "model": 8}
    assert len(set(result["nbytes_per_device"].values())) == 1


def test_the_control_is_no_shift() -> None:
    result, generations = run("--control")
    style = result["style"]
    reference, _ = run()
    assert result["training"]["steps"] == reference["training"]["steps"]
    assert style["after"]["share_of_reviews"] <= 0.2
    assert not style["shifted"]
    assert style["shift"]["reviews"] < 0
    # Before the tuning it is the same model.
    assert [entry["text"] for entry in generations["before"]] == [entry["text"] for entry in run()[1]["before"]]
