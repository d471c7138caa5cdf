"""Measurements for predictions, in a process of their own with 8 simulated devices.

They start when the questions are asked, so that most are done when the answers are there. They run
no code of a learner.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import TracebackType

from kit.course.predictions import Value
from kit.errors import UserError


class Measurements:
    """The measurements of some questions of an exercise. Use it as a context manager."""

    def __init__(self, exercise: str, names: Sequence[str]) -> None:
        """Start to measure, one after the other."""
        self._found: dict[str, Value] = {}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed on exit
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, exercise, *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            # Ctrl-C reaches this process, which ends that one.
            start_new_session=True,
        )

    def __enter__(self) -> "Measurements":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def wait_for(self, name: str) -> Value:
        """The measured value. Raises UserError if it cannot be measured."""
        assert self._process.stdout is not None
        while name not in self._found:
            line = self._process.stdout.readline()
            if not line:
                self._errors.seek(0)
                last = self._errors.read().strip().splitlines()[-1:] or ["the process ended"]
                raise UserError(f"{name} could not be measured: {last[0]}. `kit doctor` checks this machine.")
            self._found |= json.loads(line)
        return self._found[name]


def main() -> None:
    """Measure, and print JSON lines: ``python -m kit.course.measuring EXERCISE QUESTION …``."""
    from kit.runtime.platform import prepare_environment

    exercise, *names = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a library prints is no answer.
    os.dup2(2, 1)
    prepare_environment("cpu", 8)
    from kit.course.predictions import question

    for name in names:
        found = question(exercise, name)
        assert found is not None, name
        answers.write(json.dumps({name: found.measure()}) + "\n")
        answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
