"""One check in a new Python process, where forking is not possible or an accelerator is used."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kit.judge.check_process import execute
from kit.judge.server import OUTPUT_KEPT, OUTPUT_LIMIT
from kit.runtime.platform import Platform, prepare_environment


def run(request: dict[str, Any], platform: Platform, devices: int) -> dict[str, Any]:
    """Run a check, and return what the warm parent process would return."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kit-check-") as folder:
        verdict, printed = Path(folder, "verdict.json"), Path(folder, "printed")
        with printed.open("wb") as output:
            arguments = (platform, str(devices), json.dumps(request), str(verdict))
            process = subprocess.Popen(
                [sys.executable, "-m", "kit.judge.fresh_process", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            result: dict[str, Any] = {}
            while process.poll() is None and not result:
                time.sleep(0.05)
                if time.monotonic() - started > request["limit"]:
                    result = {"ended": "took too long", "limit": request["limit"]}
                elif printed.stat().st_size > OUTPUT_LIMIT:
                    result = {"ended": "printed too much", "printed": printed.stat().st_size}
            if result:
                os.killpg(process.pid, signal.SIGKILL)
            exit_code = process.wait()
        if not result and verdict.is_file():
            result = json.loads(verdict.read_text(encoding="utf-8"))
        result = result or {"ended": "without a verdict", "exit_code": exit_code}
        with printed.open("rb") as lines:
            lines.seek(max(0, printed.stat().st_size - OUTPUT_KEPT))
            text = lines.read().decode(errors="replace")
    return {"output": text, "wall_seconds": round(time.monotonic() - started, 3)} | result


def main() -> None:
    """``python -m kit.judge.fresh_process PLATFORM DEVICES REQUEST FILE``."""
    platform, devices, text, file = sys.argv[1:]
    request = json.loads(text)
    if "precision" in request:
        os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = request["precision"]
    prepare_environment(platform, int(devices))  # type: ignore[arg-type]  # a word that `run` wrote
    verdict = execute(request["catalogue"], request["impl"], request["exercise"], request["check"])
    unfinished = Path(file + ".unfinished")
    unfinished.write_text(json.dumps(verdict), encoding="utf-8")
    unfinished.rename(file)
    os._exit(0)


if __name__ == "__main__":
    main()
