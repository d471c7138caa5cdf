"""Reviews of ``tensorflow_datasets``, read in a process of its own."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kit.data.read_tfds import PROGRESS
from kit.errors import UserError
from kit.installation import install_command, program
from kit.runtime.downloads import Download

#: The kind of a fault that ``kit.data.read_tfds`` found -> the cause and the remedy.
_SENTENCES = {
    "package": "the Python package {found} is not installed, which tensorflow_datasets needs: run `{install}`, "
    "or `{pip} install {found}`.",
    "unknown": "tensorflow_datasets has no such data set: {found}",
    "network": "the download {found} failed: check the network, and run again, or {folder}.",
    "status": "the server refuses it ({found}): try again later, or {folder}.",
    "checksum": "what was downloaded differs from what tensorflow_datasets expects ({found}): run again. A network "
    "that asks for a login first answers each request with its own page.",
    "disk": "tensorflow_datasets cannot write there ({found}): free some space, or set TFDS_DATA_DIR to a writable "
    "folder.",
    "content": "it is not a data set of (text, label) with a split train ({found}): choose one such as imdb_reviews.",
    "other": "tensorflow_datasets could not provide it ({found}).",
}


def load_tfds(name: str, folder: str | None) -> list[tuple[str, int]]:
    """The texts and labels of the train split of a TFDS data set; ``folder`` has prepared data.

    Another process reads it, so that TensorFlow does not occupy JAX' accelerator. Raises UserError
    if it cannot be read.
    """
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "answer.json"
        command = [sys.executable, "-m", "kit.data.read_tfds", name, str(output), *([folder] if folder else [])]
        # A file, since a full pipe would stop a process that logs.
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace") as process:
                _show_progress(name, process)
            log.seek(0)
            if output.is_file():
                answer = json.loads(output.read_text(encoding="utf-8"))
            else:
                answer = {"fault": "other", "found": _how_it_ended(process.returncode, log.read())}
    if "fault" in answer:
        raise UserError(f"--data tfds:{name}: {_sentence(name, answer)}")
    return [(text, label) for text, label in answer["examples"]]


def _sentence(name: str, answer: dict[str, Any]) -> str:
    folder = f"give a folder where it was prepared, as `--data tfds:{name}@FOLDER` or in TFDS_DATA_DIR"
    return _SENTENCES[answer["fault"]].format(
        found=answer["found"], folder=folder, install=install_command(), pip=program("pip")
    )


def _show_progress(name: str, process: subprocess.Popen) -> None:
    """Show what the process prints until it ends: its progress, and lines for standard error."""
    assert process.stdout is not None
    download = None
    try:
        for line in process.stdout:
            if not line.startswith(PROGRESS):
                print(line, end="", file=sys.stderr, flush=True)
                continue
            what, done, total = json.loads(line.removeprefix(PROGRESS))
            download = download or Download(name, in_bytes=False)
            download.count(done, total, what)
        process.wait()
    finally:
        if download:
            download.close()
        process.kill()


def _how_it_ended(status: int, log: str) -> str:
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["no reason given"]
    return lines[-1][:300]
