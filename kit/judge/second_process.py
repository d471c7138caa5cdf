"""A call of a solution's function in a second process, in which strings have other hashes.

``hash`` of a string and the order of a set of strings differ from one process to the next.
"""

import json
import os
import pickle
import subprocess
import sys
from typing import Any

from kit.checks.diagnosis import Failed
from kit.judge.crashes import described
from kit.judge.observation import Outcome, Returned, Stopped
from kit.judge.submission import Submission
from kit.parts.implementation import REFERENCE, find_parts
from kit.runtime.platform import prepare_environment


class CallInSecondProcess:
    """A call that runs in the background; its arguments are plain data."""

    def __init__(self, submission: Submission, function: str, *arguments: Any, hash_seed: int = 1) -> None:
        """Start the process."""
        self._function = function
        self._arguments = arguments
        self._hash_seed = hash_seed
        parts = submission.parts
        implementation = REFERENCE if parts.name == REFERENCE else str(parts.folder)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, implementation, submission.exercise, function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        )

    def outcome(self) -> Outcome[Any]:
        """Wait for the call. The value is what JSON makes of it: tuples are lists."""
        answer, _ = self._process.communicate(pickle.dumps(self._arguments))
        try:
            content = json.loads(answer)
        except ValueError:
            content = {"error": f"the process ended with exit code {self._process.returncode}"}
        if "returned" in content:
            return Returned(content["returned"])
        cause = f"{self._function} works, but fails in a second Python process: {content['error']}."
        columns = ("process", "PYTHONHASHSEED", "error")
        return Stopped(
            Failed("EXERCISE_CRASHED", cause, columns, [("second", self._hash_seed, content["error"])]).diagnosis
        )


def main() -> None:
    """Call a function: ``kit.judge.second_process IMPLEMENTATION EXERCISE FUNCTION``.

    Its arguments are read from standard input.
    """
    implementation, exercise, function = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What the solution prints is no answer.
    os.dup2(2, 1)
    arguments = pickle.load(sys.stdin.buffer)
    prepare_environment("cpu", 1)
    try:
        module = find_parts(implementation).load(exercise)
        answers.write(json.dumps({"returned": getattr(module, function)(*arguments)}))
    except BaseException as error:
        answers.write(json.dumps({"error": described(error)}))
    answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
