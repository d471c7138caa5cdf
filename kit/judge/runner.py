"""Runs checks on a solution: reads its source, then runs each check in its own process."""

import dataclasses
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from kit.checks.codes import NOT_IMPLEMENTED
from kit.checks.diagnosis import Diagnosis, Failed
from kit.errors import UserError
from kit.formatting import without_control_codes
from kit.judge.catalogue import WHOLE_RUN, Catalogue, Check
from kit.judge.submission import not_implemented, not_python
from kit.parts.implementation import find_parts
from kit.parts.open_tasks import functions_in, untouched_functions
from kit.runtime.platform import DEFAULT_SIMULATED_DEVICES, Platform


@dataclass(frozen=True)
class Verdict:
    """The result of a check on a solution."""

    check: Check
    #: None if the check passes.
    diagnosis: Diagnosis | None
    #: The end of what the solution printed.
    output: str = ""
    seconds: float = 0.0
    #: Figures that a tolerance is compared with.
    measured: dict[str, float] = field(default_factory=dict)
    #: Whether this is the verdict of an earlier check on the same function, which timed out.
    repeated: bool = False

    @property
    def passed(self) -> bool:
        """Whether the check passes."""
        return self.diagnosis is None

    @property
    def is_open(self) -> bool:
        """Whether the function is not written yet, which is no mistake."""
        return self.diagnosis is not None and self.diagnosis.code == NOT_IMPLEMENTED

    def for_terminal(self) -> str:
        """The diagnostic, and the end of what the solution printed; empty if the check passes."""
        if self.diagnosis is None:
            return ""
        text = self.diagnosis.for_terminal(self.check.exercise)
        printed = self.output.strip()
        return f"{text}\n\nprinted:\n{printed}" if printed and not self.is_open else text


Job = Generator[Check, Verdict, None]

#: Seconds between two questions whether to stop, and until a process that does not end is killed.
SECONDS_BETWEEN_QUESTIONS = 0.05
PATIENCE = 2.0


class Stopped(Exception):  # noqa: N818 -- it is what was asked for
    """Checks were stopped before they had a verdict."""


class Runner:
    """Runs checks with libraries that are imported once.

    Use it as a context manager, or call :meth:`close`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        platform: Platform = "cpu",
        devices: int = DEFAULT_SIMULATED_DEVICES,
        fork: bool | None = None,
    ) -> None:
        """Store the settings; nothing is started yet.

        ``devices`` are simulated on "cpu". Only "cpu" can fork: an accelerator belongs to one
        process. ``fork=False`` starts a new Python for each check; the default depends on whether
        forking is possible.
        """
        self._catalogue = catalogue
        self._platform = platform
        self._devices = devices
        self._fork = platform == "cpu" and hasattr(os, "fork") if fork is None else fork
        self._server: subprocess.Popen[bytes] | None = None
        self._next_id = 0
        self._stuck: dict[tuple[str, str, str], Diagnosis] = {}
        #: Asked while a check runs: whether to stop it, by raising :class:`Stopped`.
        self.stop_now: Callable[[], bool] | None = None
        #: Checks that were started before their verdict is needed (by number), and answers that
        #: came early.
        self._begun: dict[int, tuple[str, Check]] = {}
        self._early: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> "Runner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the warm parent process and its checks, at once also while it imports."""
        server, self._server = self._server, None
        if server is not None:
            server.terminate()
            try:
                server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            server.stdin.close()  # type: ignore[union-attr]  # it was opened with a pipe
            server.stdout.close()  # type: ignore[union-attr]

    def warm_up(self, exercises: Iterable[str]) -> None:
        """Start importing what the checks of these exercises need, in the background."""
        if self._fork:
            for exercise in exercises:
                self._ask({"exercise": exercise, "check": None})

    def begin(self, requests: Iterable[tuple[str, Check]]) -> None:
        """Start checks in the background, one by one; :meth:`run` returns their verdicts later."""
        if self._fork:
            for impl, check in requests:
                if self.needs_running(impl, check):
                    self._begun[self._send(impl, check, ahead=True)] = (impl, check)

    def _number_of(self, impl: str, check: Check) -> int:
        """The number of a running check, which is started now if it was not before."""
        for number, begun in self._begun.items():
            if begun == (impl, check):
                if number not in self._early:
                    self._ask({"wanted": number})
                return number
        return self._send(impl, check)

    def run(self, impl: str, check: Check) -> Verdict:
        """Run one check."""
        found: list[Verdict] = []

        def job() -> Job:
            found.append((yield check))

        self.run_jobs([(impl, job())])
        return found[0]

    def run_jobs(self, jobs: Iterable[tuple[str, "Job"]], at_once: int = 1) -> None:
        """Run the checks of several solutions, ``at_once`` solutions at a time, one check of each.

        A job is an implementation, and a generator that yields checks and receives their verdicts.
        """
        waiting = iter(jobs)
        running: dict[int, tuple[str, Check, Job]] = {}
        more = True
        while more or running:
            while more and len(running) < at_once:
                started = next(waiting, None)
                if started is None:
                    more = False
                else:
                    self._advance(*started, None, running)
            if running:
                answer = self._receive_or_stop(running)
                if answer["id"] not in running:
                    if answer["id"] in self._begun:
                        self._early[answer["id"]] = answer
                    continue
                impl, check, job = running.pop(answer["id"])
                self._advance(impl, job, self._verdict(impl, check, answer), running)

    def _receive_or_stop(self, running: Iterable[int]) -> dict[str, Any]:
        """The next answer; raises Stopped, after the running checks were stopped, if asked to."""
        stream: Any = self._server.stdout  # type: ignore[union-attr]
        # An answer is one line, and nothing of the next is read ahead.
        while self.stop_now and not select.select([stream], [], [], SECONDS_BETWEEN_QUESTIONS)[0]:
            if self.stop_now():
                for number in running:
                    self._ask({"drop": number})
                raise Stopped
        return self._receive()

    def _advance(
        self, impl: str, job: "Job", verdict: Verdict | None, running: dict[int, tuple[str, Check, "Job"]]
    ) -> None:
        """Send a job its last verdict, and answer its next checks until one needs a process."""
        while True:
            try:
                check = job.send(verdict)  # type: ignore[arg-type]  # a generator is started with None
            except StopIteration:
                return
            verdict = self._without_running(impl, check)
            if verdict is None and not self._fork:
                verdict = self._verdict(impl, check, self._run_in_fresh_process(impl, check))
            if verdict is None:
                number = self._number_of(impl, check)
                self._begun.pop(number, None)
                if number not in self._early:
                    running[number] = (impl, check, job)
                    return
                verdict = self._verdict(impl, check, self._early.pop(number))

    def needs_running(self, impl: str, check: Check) -> bool:
        """Whether a verdict needs more than reading the file."""
        return self._without_running(impl, check) is None

    def _without_running(self, impl: str, check: Check) -> Verdict | None:
        parts = find_parts(impl)
        if check.exercise == WHOLE_RUN:
            try:
                missing = parts.open_functions()
            except UserError as error:
                return Verdict(check, Failed("EXERCISE_DOES_NOT_IMPORT", str(error)).diagnosis)
            cause = f"not implemented yet: {', '.join(missing)}."
            return Verdict(check, Failed(NOT_IMPLEMENTED, cause).diagnosis) if missing else None
        file = parts.file_of(check.exercise)
        if file.is_file():
            try:
                stubs = untouched_functions(file.read_text(encoding="utf-8"), self._catalogue.stub(check.exercise))
            except (SyntaxError, UnicodeDecodeError) as error:
                return Verdict(check, not_python(parts.shown(check.exercise), error, file.name).diagnosis)
            if check.function in stubs:
                shown, line = parts.shown(check.exercise), stubs[check.function]
                location = f"{file.name}:{line}"
                failed = not_implemented(shown, check.exercise, check.function, None, line, location)
                return Verdict(check, failed.diagnosis)
        if (stuck := self._stuck.get((impl, check.exercise, check.function))) is not None:
            return Verdict(check, stuck, repeated=True)
        return None

    def _verdict(self, impl: str, check: Check, answer: dict[str, Any]) -> Verdict:
        if "error" in answer:
            raise UserError(answer["error"])
        ended = answer.get("ended")
        if ended is None:
            diagnosis = Diagnosis.from_dict(answer["diagnosis"]) if answer["diagnosis"] else None
        else:
            diagnosis = _diagnosis_of_end(check, ended, answer)
            if ended != "without a verdict":
                # The next check would end the same way; the learner waits once, not once per check.
                self._stuck[impl, check.exercise, check.function] = diagnosis
        if diagnosis is not None and not diagnosis.location:
            diagnosis = dataclasses.replace(diagnosis, location=_definition(impl, check))
        return Verdict(
            check,
            diagnosis,
            without_control_codes(answer.get("output", "")),
            answer.get("wall_seconds", 0.0),
            answer.get("measured", {}),
        )

    def forget(self, impl: str) -> None:
        """Forget all verdicts on a solution that has changed, and stop its running checks."""
        self._stuck = {key: value for key, value in self._stuck.items() if key[0] != impl}
        for number in [number for number, begun in self._begun.items() if begun[0] == impl]:
            del self._begun[number]
            if self._early.pop(number, None) is None:
                self._ask({"drop": number})

    # The warm parent process.

    def _ask(self, request: dict[str, Any]) -> None:
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "kit.judge.server", self._catalogue.source, str(self._devices)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Read with select, so without a buffer.
                bufsize=0,
                # Ctrl-C is for this process, which then stops the other.
                process_group=0,
                env=os.environ | {"PYTHONSAFEPATH": "1"},
            )
        line = (json.dumps(request) + "\n").encode()
        try:
            self._server.stdin.write(line)  # type: ignore[union-attr]
            self._server.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            raise RuntimeError(f"the process that runs the checks ended with exit code {self._server.wait()}") from None

    def _send(self, impl: str, check: Check, ahead: bool = False) -> int:
        self._next_id += 1
        self._ask(_request(impl, check) | {"id": self._next_id, "ahead": ahead})
        return self._next_id

    def _receive(self) -> dict[str, Any]:
        line = self._server.stdout.readline()  # type: ignore[union-attr]
        if not line:
            code = self._server.wait()  # type: ignore[union-attr]
            raise RuntimeError(f"the process that runs the checks ended with exit code {code}")
        return json.loads(line)

    # A new Python for each check.

    def _run_in_fresh_process(self, impl: str, check: Check) -> dict[str, Any]:
        from kit.judge import fresh_process

        request = _request(impl, check) | {"catalogue": self._catalogue.source}
        if self._platform != "cpu" and check.layer not in ("style", "tpu"):
            # The checks compare float32 with float32; by default a GPU multiplies in TF32, a TPU in
            # bfloat16.
            request["precision"] = "highest"
        return fresh_process.run(request, self._platform, self._devices)


def _definition(impl: str, check: Check) -> str:
    """The line that defines the function of a check, as ``mesh.py:17``; empty if there is none."""
    file = find_parts(impl).file_of(check.exercise)
    try:
        defined = functions_in(file.read_text(encoding="utf-8")).get(check.function)
    except (OSError, SyntaxError, ValueError):
        return ""
    return f"{file.name}:{defined.lineno}" if defined else ""


def _request(impl: str, check: Check) -> dict[str, Any]:
    return {"impl": impl, "exercise": check.exercise, "check": check.name, "limit": check.limit}


def _diagnosis_of_end(check: Check, ended: str, answer: dict[str, Any]) -> Diagnosis:
    last = (without_control_codes(answer.get("output", "")).strip().splitlines() or ["nothing"])[-1]
    if ended == "took too long":
        failed = Failed(
            "EXERCISE_TIMED_OUT",
            f"The check of {check.function} was stopped after {answer['limit']:g} s of CPU time.",
            ("check", "CPU time", "limit", "printed last"),
            [(check.asks, f"{answer['cpu_seconds']:g} s", f"{answer['limit']:g} s", last)],
        )
    elif ended == "waited":
        used, load = answer["cpu_seconds"] or 0, os.getloadavg()[0]
        failed = Failed(
            "EXERCISE_WAITS",
            f"The check of {check.function} was stopped after {answer['wall_seconds']:.0f} s, of which its process "
            f"used {used:g} s of CPU time.",
            ("check", "CPU time", "limit", "waiting for a core", "cores", "printed last"),
            [(check.asks, f"{used:g} s", f"{answer['limit']:g} s", f"{load:.1f}", os.cpu_count(), last)],
        )
    elif ended == "printed too much":
        failed = Failed(
            "EXERCISE_PRINTS_TOO_MUCH",
            f"{check.exercise}.py printed more than a megabyte and was stopped.",
            ("bytes printed", "printed last"),
            [(f"{answer['printed']:,}", last)],
        )
    else:
        code = answer["exit_code"]
        how = f"with exit code {code}" if code >= 0 else f"by signal {-code}"
        failed = Failed(
            "EXERCISE_ENDED_THE_PROCESS",
            f"{check.exercise}.py ended the process {how} before its functions returned.",
            ("check", "exit code", "printed last"),
            [(check.asks, code, last)],
        )
    return failed.diagnosis
