"""Starts, watches and kills two processes that train together, and reads their reports."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

from kit.course.multihost.process_report import Death, Report, Request, TwoProcesses, decode
from kit.course.multihost.reading import read_saved
from kit.course.multihost.shared_training import PROCESSES
from kit.errors import UserError
from kit.judge.submission import Submission

#: Seconds until both have imported the libraries. After that, each reports the limit of what it is
#: doing.
START = 100


@dataclass
class TrainingProcesses:
    """Running processes. They are in the process group of the check, so its end is theirs."""

    requests: list[Request]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def wait(self) -> TwoProcesses:
        """Wait until both finish, one ends or stops, or neither makes progress.

        Raises UserError if the training failed for a reason that is not the solution's.
        """
        # When the last line of each report was written, and the number of lines then.
        heard = [(time.monotonic(), 0)] * len(self.requests)
        while True:
            lines = [self._lines(request) for request in self.requests]
            now = time.monotonic()
            heard = [
                (now, len(read)) if len(read) > known else (at, known)
                for read, (at, known) in zip(lines, heard, strict=True)
            ]
            if death := self._death(lines):
                return TwoProcesses(tuple(map(_report, lines)), death=death)
            ends = [read[-1].get("end") if read else None for read in lines]
            for read, end in zip(lines, ends, strict=True):
                if end == "error":
                    raise UserError(f"The check multihost: two_processes could not be made: {read[-1]['text']}.")
                if end in ("stopped", "crashed"):
                    return TwoProcesses(tuple(map(_report, lines)))
            if all(end == "finished" for end in ends):
                return self._finished(lines)
            limit = max(map(_limit, lines))
            if now - max(at for at, _ in heard) > limit:
                return TwoProcesses(tuple(map(_report, lines)), waited=limit)
            time.sleep(0.05)

    def _death(self, lines: list[list[dict[str, Any]]]) -> Death | None:
        """A process that has ended. This comes first: the other fails without its connection."""
        for number, read in enumerate(lines):
            exit_code = self.started[number].poll()
            # Between reading and ending it may have written more lines.
            if exit_code is None or len(self._lines(self.requests[number])) != len(read):
                continue
            if not read:
                raise UserError(
                    f"The check multihost: two_processes could not be made: process {number} ended with {exit_code} "
                    f"before it started ({self._printed(number)})."
                )
            return Death(number, exit_code, self._printed(number))
        return None

    def _finished(self, lines: list[list[dict[str, Any]]]) -> TwoProcesses:
        files = [request.saved for request in self.requests]
        sizes = tuple(file.stat().st_size if file.exists() else None for file in files)
        return TwoProcesses(tuple(map(_report, lines)), sizes=sizes, saved=read_saved(files[0]))

    def _lines(self, request: Request) -> list[dict[str, Any]]:
        try:
            text = request.report.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _printed(self, number: int) -> str:
        """The last line that a process printed."""
        text = self.requests[number].printed.read_text(encoding="utf-8", errors="replace")
        # Gloo prints its connections.
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("[Gloo]")]
        return lines[-1] if lines else "nothing"

    def end(self) -> None:
        """Kill the processes: they stay until then, and may wait for each other."""
        for process in self.started:
            process.kill()
        for process in self.started:
            process.wait()


def _limit(lines: list[dict[str, Any]]) -> float:
    """Seconds until the next line of a report; 0 after its end."""
    if not lines:
        return START
    if "end" in lines[-1]:
        return 0
    return next((line["limit"] for line in reversed(lines) if "limit" in line), 0)


def _report(lines: list[dict[str, Any]]) -> Report:
    last = lines[-1] if lines else {}
    end = last.get("end", "")
    doing = "the imports"
    for line in lines:
        doing = line.get("doing", doing)
    return Report(
        "its end" if end == "finished" else doing,
        tuple(decode(line["seen"]) for line in lines if "seen" in line),
        end,
        last.get("text", ""),
        decode(last["diagnosis"]) if "diagnosis" in last else None,
        tuple(line["gathers"] for line in lines if "gathers" in line),
    )


def observe_two_processes(submission: Submission) -> TwoProcesses:
    """Train in two processes with all functions of the exercise; they are killed at the end."""
    with tempfile.TemporaryDirectory(prefix="kit-check-") as folder:
        processes = TrainingProcesses([Request(submission.parts.name, number, folder) for number in range(PROCESSES)])
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        try:
            for request in processes.requests:
                processes.started.append(_start(request, address))
            return processes.wait()
        finally:
            processes.end()


def _start(request: Request, address: str) -> subprocess.Popen[bytes]:
    prefix = "KERAS_DISTRIBUTION_"
    settings = {"JOB_ADDRESSES": address, "NUM_PROCESSES": str(PROCESSES), "PROCESS_ID": str(request.number)}
    # Each process orders its sets in another way, as processes do.
    variables = {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": str(request.number + 1)}
    variables |= {prefix + name: value for name, value in settings.items()}
    with request.printed.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "kit.course.multihost.training_process", json.dumps(dataclasses.asdict(request))],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=os.environ | variables,
        )
