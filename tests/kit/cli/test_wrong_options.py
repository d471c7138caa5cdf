"""Wrong options are refused before JAX and Keras are imported, which takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import expect_one_sentence, without_progress

#: Prints the frameworks that were imported, when the command has ended.
PROGRAM = """
import atexit, sys
atexit.register(lambda: print([name for name in ("jax", "keras", "keras_hub") if name in sys.modules]))
from kit.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "run --preset nope",
            "--preset nope: neither a folder nor a known name. Choose bundled, or from Kaggle one of",
        ),
        ("run --mesh 3x4", "--mesh 3x4: it needs 12 devices, and there are 8"),
        ("run --mesh 1x8 --layout fsdp", "--layout fsdp"),
        ("run --platform abacus", "--platform abacus"),
        ("run --data nope", "--data nope"),
        ("run --impl nope", "--impl nope"),
        ("run --resume nope", "--resume nope"),
        ("plan nope", "nope: neither a folder nor a known model"),
        ("plan --mesh 3x4", "--mesh 3x4: it needs 12 devices"),
        ("plan --impl nope", "--impl nope: there is no such folder"),
        ("plan --compare tensor nope", "--impl nope: there is no such folder"),
        ("plan --layers 99", "--layers 99: gemma_7b_en has 28 decoder blocks"),
        ("plan gemma4_31b --layers 2,4", "each 6 blocks of this model end with one of global attention"),
        ("plan --picture plan.gif", "--picture plan.gif"),
        ("plan --topology v9-8", "--topology v9-8"),
        ("export nope folder", "nope: there is no such folder"),
        ("report nope", "nope: there is no such folder"),
        ("grade nope", "nope: there is no such folder"),
        ("watch nope", "There is no exercise 'nope'"),
        ("watch --impl nope", "--impl nope"),
        ("solution nope", "There is no exercise 'nope'"),
        ("dev check nope", "There is no exercise 'nope'"),
    ],
)
def test_no_framework_is_imported(command: str, message: str, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command.split()], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (finished.returncode, without_progress(finished.stdout)) == (2, "[]\n")
    expect_one_sentence(finished.stderr, message)
    assert not any(tmp_path.iterdir())
