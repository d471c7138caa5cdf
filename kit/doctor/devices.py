"""What jax finds when it starts, in another process: a wrong XLA flag ends the one that starts it.

``python -m kit.doctor.devices`` prints the answer as JSON.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from kit.formatting import inert, without_log_prefix

#: Seconds in which jax starts on a busy machine, and a TPU is found.
PATIENCE = 300


@dataclass(frozen=True)
class Devices:
    """The devices of a process that has started; or what went wrong."""

    platform: str = ""
    count: int = 0
    kind: str = ""
    #: A sentence without a full stop; empty if jax has started.
    fault: str = ""


def ask_for_devices() -> Devices:
    """Start jax in another process, and return what it found."""
    command = [sys.executable, "-m", __name__]
    try:
        asked = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return Devices(fault=f"jax did not start within {PATIENCE} s")
    try:
        answer: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
        return Devices(**answer)
    except (ValueError, IndexError, TypeError):
        lines = [line.strip() for line in inert(asked.stderr.decode(errors="replace")).splitlines() if line.strip()]
        logged = [line for line in lines if without_log_prefix(line) != line]
        said = without_log_prefix((logged or lines or ["it said nothing"])[0])
        return Devices(fault=f"jax ends the process that starts it: {said[:300].rstrip('.')}")


def main() -> None:
    """Start jax as `kit run` does, and print what was found."""
    from kit.errors import UserError
    from kit.runtime.platform import start

    try:
        runtime = start()
        found = Devices(runtime.platform, runtime.device_count, runtime.device_kind)
    except UserError as error:
        found = Devices(fault=str(error).rstrip("."))
    except Exception as error:  # whatever the libraries raise
        found = Devices(fault=f"jax does not start ({type(error).__name__}: {error})"[:300])
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
