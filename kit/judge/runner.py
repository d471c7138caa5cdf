"""Runs checks on a solution: reads its source, then runs each check in its own process."""

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from kit.checks.codes import COULD_NOT_BE_JUDGED, COULD_NOT_BE_READ, NOT_IMPLEMENTED
from kit.checks.diagnosis import Diagnosis, Failed
from kit.errors import UserError
from kit.files import read_module
from kit.formatting import inert, without_control_codes, without_log_prefix
from kit.judge.canary import CANARY, CANARY_LIMIT
from kit.judge.catalogue import WAITING_FACTOR, WHOLE_RUN, Catalogue, Check
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
#: An implementation, the check that runs on it, and the job that waits for its verdict.
_Running = tuple[str, Check, Job]

#: Seconds between two questions whether to stop, and until a process that does not end is killed.
SECONDS_BETWEEN_QUESTIONS = 0.05
PATIENCE = 2.0


_CANARY = Check(CANARY, "spec", "", CANARY_LIMIT, "This machine runs a small program.", "")

#: Seconds between two looks at a warm parent that does not answer.
SECONDS_BETWEEN_LOOKS = 1.0
#: Seconds that it may be silent beyond the longest time of a check, while it imports; and bytes of
#: an answer.
SILENCE = 300.0
ANSWER_LIMIT = 4_000_000


class _ParentLost(Exception):  # noqa: N818 -- what happened
    """The warm parent process does not answer any more; the text completes "the process …"."""


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
        #: What the parent has sent of its next answer, and when its silence means that it is lost.
        self._received = bytearray()
        self._silent_until = 0.0
        #: Whether checks use the cache of compiled programs, which may be damaged.
        self._cache = True
        self._checked_without_cache: set[Check] = set()
        #: What is wrong with this machine; empty if nothing is, and None if nobody has looked.
        self._fault: str | None = None
        #: Checks that somebody waits for, by number.
        self._running: dict[int, _Running] = {}

    @property
    def cache_is_damaged(self) -> bool:
        """Whether a check crashed with the cache of compiled programs, and not without it."""
        return not self._cache

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
        self._received.clear()

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
                    self._expect_answer_for(check)
                return number
        return self._send(impl, check)

    def run(self, impl: str, check: Check) -> Verdict:
        """Run one check."""
        found: list[Verdict] = []

        def job() -> Job:
            found.append((yield check))

        self.run_jobs([(impl, job())])
        return found[0]

    def run_jobs(self, jobs: Iterable[tuple[str, Job]], at_once: int = 1) -> None:
        """Run the checks of several solutions, ``at_once`` solutions at a time, one check of each.

        A job is an implementation, and a generator that yields checks and receives their verdicts.
        A UserError, where a check could not be made, is raised where the job yields.
        """
        waiting = iter(jobs)
        more = True
        try:
            while more or self._running:
                while more and len(self._running) < at_once:
                    started = next(waiting, None)
                    if started is None:
                        more = False
                    else:
                        self._advance(*started, None)
                for (impl, check, job), answer in self._next_answers() if self._running else ():
                    try:
                        result: Verdict | UserError = self._judged(impl, check, answer)
                    except UserError as error:
                        result = error
                    self._advance(impl, job, result)
        finally:
            self._running.clear()

    def _next_answers(self) -> list[tuple[_Running, dict[str, Any]]]:
        """Take the next check that has an answer from those that are running.

        If one of them may have disturbed another, each is run again, alone.
        """
        try:
            number = next((number for number in self._running if number in self._early), None)
            answer = self._receive_or_stop(self._running) if number is None else self._early.pop(number)
            if answer["id"] not in self._running:
                self._keep_early(answer)
                return []
            if not (_is_disturbed(answer) and len(self._running) > 1):
                return [(self._running.pop(answer["id"]), answer)]
        except _ParentLost:
            pass
        self._end_parent()
        suspects = list(self._running.values())
        self._running.clear()
        return [(suspect, self._answer_to(suspect[0], suspect[1])) for suspect in suspects]

    def _keep_early(self, answer: dict[str, Any]) -> None:
        """Keep an answer that came before anyone waits for it; that of a dropped check is none."""
        if answer["id"] in self._begun or answer["id"] in self._running:
            self._early[answer["id"]] = answer

    def _answer_to(self, impl: str, check: Check) -> dict[str, Any]:
        """Run a check, and wait for its answer before anything new is started."""
        try:
            number = self._send(impl, check)
            while (answer := self._receive_or_stop([number]))["id"] != number:
                self._keep_early(answer)
            return answer
        except _ParentLost as lost:
            self._end_parent()
            return {"ended": "the parent was lost", "how": str(lost)}

    def _end_parent(self) -> None:
        """Kill the warm parent; the next request starts another one."""
        server, self._server = self._server, None
        self._received.clear()
        # What was begun ahead is lost with it; what is running is run again by those who wait.
        self._begun = {number: begun for number, begun in self._begun.items() if number in self._early}
        if server is not None:
            server.kill()
            server.wait()
            server.stdin.close()  # type: ignore[union-attr]  # it was opened with a pipe
            server.stdout.close()  # type: ignore[union-attr]

    def _receive_or_stop(self, running: Iterable[int]) -> dict[str, Any]:
        """The next answer; raises Stopped, after the running checks were stopped, if asked to.

        Raises _ParentLost if there will be none.
        """
        while b"\n" not in self._received:
            if self.stop_now and self.stop_now():
                for number in running:
                    self._ask({"drop": number})
                raise Stopped
            self._receive(SECONDS_BETWEEN_QUESTIONS if self.stop_now else SECONDS_BETWEEN_LOOKS)
        line, _, rest = self._received.partition(b"\n")
        self._received = rest
        try:
            answer = json.loads(line)
            if isinstance(answer["id"], int):
                return dict(answer)
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise _ParentLost("sent what is no answer")

    def _receive(self, seconds: float) -> None:
        """Wait for a part of an answer. Raises _ParentLost if there will be no answer."""
        if self._server is None:
            raise _ParentLost("had ended")
        stream: Any = self._server.stdout
        if select.select([stream], [], [], seconds)[0]:
            data = os.read(stream.fileno(), 65536)
            self._received += data
            if not data:
                raise _ParentLost(_how_it_ended(self._server))
            if len(self._received) > ANSWER_LIMIT:
                raise _ParentLost("was flooded")
        elif is_stopped(self._server.pid):
            raise _ParentLost("was stopped")
        elif time.monotonic() > self._silent_until:
            raise _ParentLost("did not answer")

    def _advance(self, impl: str, job: Job, result: Verdict | UserError | None) -> None:
        """Send a job its last verdict, and answer its next checks until one needs a process."""
        while True:
            try:
                check = _resume(job, result)
            except StopIteration:
                return
            try:
                result = self._without_running(impl, check)
                if result is None and not self._fork:
                    result = self._verdict(impl, check, self._run_in_fresh_process(impl, check))
                if result is None:
                    number = self._number_of(impl, check)
                    self._begun.pop(number, None)
                    if number not in self._early:
                        self._running[number] = (impl, check, job)
                        return
                    result = self._judged(impl, check, self._early.pop(number))
            except UserError as error:
                result = error

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
        if os.path.lexists(file):
            try:
                stubs = untouched_functions(read_module(file), self._catalogue.stub(check.exercise))
            except SyntaxError as error:
                return Verdict(check, not_python(parts.shown(check.exercise), error, file.name).diagnosis)
            except OSError as error:
                cause = f"{parts.shown(check.exercise)} cannot be read: {error.strerror}."
                return Verdict(check, Failed(COULD_NOT_BE_READ, cause, ("file",), [(file.name,)]).diagnosis)
            if check.function in stubs:
                shown, line = parts.shown(check.exercise), stubs[check.function]
                location = f"{file.name}:{line}"
                failed = not_implemented(shown, check.exercise, check.function, None, line, location)
                return Verdict(check, failed.diagnosis)
        if (stuck := self._stuck.get((impl, check.exercise, check.function))) is not None:
            return Verdict(check, stuck, repeated=True)
        return None

    def _judged(self, impl: str, check: Check, answer: dict[str, Any]) -> Verdict:
        """The verdict, after a crash that no line of the solution caused was looked into."""
        verdict = self._verdict(impl, check, answer)
        if not (_is_unexplained(answer) and self._cache):
            return verdict
        is_lost = answer.get("ended") == "the parent was lost"
        if self._fault is None and not is_lost and check not in self._checked_without_cache:
            self._checked_without_cache.add(check)
            self._cache = False
            if not _is_unexplained(without := self._answer_to(impl, check)):
                self._cache = True
                if not _is_unexplained(again := self._answer_to(impl, check)):
                    return self._verdict(impl, check, again)
                self._cache = False
                return self._verdict(impl, check, without)
            self._cache = True
        if self._fault is None:
            self._fault = self._run_canary()
        if not self._fault:
            return verdict
        self._stuck.pop((impl, check.exercise, check.function), None)
        return Verdict(check, _this_machine(self._fault))

    def _run_canary(self) -> str:
        """What is wrong with this machine, found without a line of the solution."""
        answer = self._answer_to("", _CANARY)
        if "fault" in answer:
            return str(answer["fault"])
        printed = without_control_codes(answer.get("output", "")).strip().splitlines()
        return (
            without_log_prefix(printed[-1])
            if printed
            else f"the process of a check {answer.get('how', 'ended without a result')}"
        )

    def _verdict(self, impl: str, check: Check, answer: dict[str, Any]) -> Verdict:
        if answer.get("ended") == "this machine":
            self._fault = inert(str(answer["fault"]))
            return Verdict(check, _this_machine(self._fault))
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
        """Send the warm parent a request. If it was lost, receiving the answer reports that."""
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
        with contextlib.suppress(BrokenPipeError):
            self._server.stdin.write(line)  # type: ignore[union-attr]
            self._server.stdin.flush()  # type: ignore[union-attr]

    def _send(self, impl: str, check: Check, ahead: bool = False) -> int:
        self._next_id += 1
        self._ask(_request(impl, check) | {"id": self._next_id, "ahead": ahead, "cache": self._cache})
        self._expect_answer_for(check)
        return self._next_id

    def _expect_answer_for(self, check: Check) -> None:
        until = time.monotonic() + WAITING_FACTOR * check.limit + SILENCE
        self._silent_until = max(self._silent_until, until)

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
        defined = functions_in(read_module(file)).get(check.function)
    except (OSError, SyntaxError):
        return ""
    return f"{file.name}:{defined.lineno}" if defined else ""


def _request(impl: str, check: Check) -> dict[str, Any]:
    return {"impl": impl, "exercise": check.exercise, "check": check.name, "limit": check.limit}


def _resume(job: Job, result: Verdict | UserError | None) -> Check:
    """The job's next check. Raises StopIteration if there is none."""
    if isinstance(result, UserError):
        return job.throw(result)
    return job.send(result)  # type: ignore[arg-type]  # a generator is started with None


def is_stopped(pid: int) -> bool:
    """Whether a child of this process was stopped by a signal and has not gone on."""
    try:
        found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return found is not None


def _how_it_ended(server: "subprocess.Popen[bytes]") -> str:
    try:
        code = server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        return "closed its answers"
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _is_disturbed(answer: dict[str, Any]) -> bool:
    """Whether another check, that ran at the same time, may have caused this end."""
    ended = answer.get("ended")
    return ended == "unreadable" or (ended == "without a verdict" and answer["exit_code"] < 0)


def _is_unexplained(answer: dict[str, Any]) -> bool:
    """Whether a check crashed, and no line of the solution is known to have caused it."""
    diagnosis = answer.get("diagnosis")
    if diagnosis:
        # The runtime's own error may come from a line that is right, by a damaged program.
        is_of_runtime = "JaxRuntimeError" in diagnosis["cause"]
        return diagnosis["code"] == "EXERCISE_CRASHED" and (is_of_runtime or not diagnosis["location"])
    # XLA ends the process that starts it with an unknown flag by exit code 1.
    return answer.get("ended") in ("the parent was lost", "without a verdict")


def _this_machine(fault: str) -> Diagnosis:
    cause = f"This machine cannot run the checks, and the solution is not the cause: {fault.rstrip('.')}."
    remedy = "Run `kit doctor`, which says what is wrong with this machine; then judge again."
    return Failed(COULD_NOT_BE_JUDGED, cause, ("this machine",), [(fault,)], remedy).diagnosis


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
    elif ended in ("the parent was lost", "unreadable"):
        how = answer.get("how", "could not read the verdict, since something else was written there")
        failed = Failed(
            COULD_NOT_BE_JUDGED,
            f"The process that runs the checks {how} while it ran {check.exercise}.py, and nothing else.",
            ("check", "printed last"),
            [(check.asks, last)],
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
