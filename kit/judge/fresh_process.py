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

from kit.judge.catalogue import WAITING_FACTOR, Catalogue
from kit.judge.check_process import execute, import_for
from kit.judge.server import OUTPUT_KEPT, OUTPUT_LIMIT, cpu_seconds, read_verdict
from kit.judge.two_processes import end_of_process
from kit.runtime.cpu_limit import limit_cpu
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
            ended = 0
            while not ended and not result:
                time.sleep(0.05)
                ended, status, usage = os.wait4(process.pid, os.WNOHANG)
                if time.monotonic() - started > WAITING_FACTOR * request["limit"]:
                    result = {"ended": "waited"}
                elif printed.stat().st_size > OUTPUT_LIMIT:
                    result = {"ended": "printed too much", "printed": printed.stat().st_size}
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
                _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if not result and verdict.is_file():
            result = read_verdict(verdict.read_bytes())
        result = result or end_of_process(process.returncode)
        with printed.open("rb") as lines:
            lines.seek(max(0, printed.stat().st_size - OUTPUT_KEPT))
            text = lines.read().decode(errors="replace")
    return {
        "output": text,
        "wall_seconds": round(time.monotonic() - started, 3),
        "limit": request["limit"],
        "cpu_seconds": cpu_seconds(usage),
    } | result


def main() -> None:
    """``python -m kit.judge.fresh_process PLATFORM DEVICES REQUEST FILE``."""
    platform, devices, text, file = sys.argv[1:]
    request = json.loads(text)
    if "precision" in request:
        os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = request["precision"]
    prepare_environment(platform, int(devices))  # type: ignore[arg-type]  # a word that `run` wrote
    # As where processes fork: what the libraries need to start is not the solution's.
    import_for(Catalogue.from_source(request["catalogue"]), request["exercise"])
    limit_cpu(request["limit"])
    verdict = execute(request["catalogue"], request["impl"], request["exercise"], request["check"])
    unfinished = Path(file + ".unfinished")
    unfinished.write_text(json.dumps(verdict), encoding="utf-8")
    unfinished.rename(file)
    os._exit(0)


if __name__ == "__main__":
    main()
