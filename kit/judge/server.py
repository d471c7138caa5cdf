"""The warm parent: imports the libraries once, and forks a process for each check.

Reads requests from standard input and writes verdicts to standard output, one JSON object per line.
Each check has a process of its own, so a solution that exits, never returns or changes a library
affects no other check.
"""

import contextlib
import json
import os
import resource
import selectors
import signal
import sys
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

from kit.checks.diagnosis import Diagnosis
from kit.formatting import inert
from kit.judge.canary import CANARY, run_canary, without_cache
from kit.judge.catalogue import WAITING_FACTOR, Catalogue
from kit.judge.check_process import import_for
from kit.judge.crashes import described
from kit.judge.two_processes import end_after, end_of_process, run_in_two_processes
from kit.runtime.cpu_limit import limit_cpu
from kit.runtime.foreign_modules import foreign_modules
from kit.runtime.platform import prepare_environment
from kit.runtime.privileges import end_with_parent, inherit_orphans, protect_memory

#: Bytes that a solution may print during one check.
OUTPUT_LIMIT = 1_000_000
#: Bytes of these that are kept to be shown.
OUTPUT_KEPT = 4_000
#: Bytes of a verdict; a diagnosis with a large table has 10 kB.
VERDICT_LIMIT = 1_000_000


@dataclass
class Child:
    """A running check."""

    request: dict[str, Any]
    pid: int
    started: float
    #: Read ends of two pipes: for the verdict, and for what the solution prints.
    verdict_fd: int
    output_fd: int
    verdict: bytearray = field(default_factory=bytearray)
    printed: int = 0
    output: bytearray = field(default_factory=bytearray)
    #: Its resources, when it has ended.
    usage: resource.struct_rusage | None = None


class Server:
    """Serves until its standard input is closed."""

    def __init__(self, catalogue: Catalogue, answers_fd: int) -> None:
        """Serve the checks of a catalogue, and write verdicts to this file descriptor."""
        self._catalogue = catalogue
        self._answers_fd = answers_fd
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, Child] = {}
        self._pending = bytearray()
        #: Requests that nobody waits for yet: served one after the other, in the background.
        self._ahead: list[dict[str, Any]] = []
        self._foreign_modules_seen = False

    def serve(self) -> None:
        """Read requests and supervise the children."""
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        listening = True
        while listening or self._children:
            timeout = 0.02 if self._children else None
            for key, _ in self._selector.select(timeout):
                if key.fd == sys.stdin.fileno():
                    data = os.read(key.fd, 65536)
                    if not data:
                        listening = False
                        self._selector.unregister(key.fd)
                    self._take(data)
                else:
                    self._read(key.fd)
            if not listening:
                # The client has ended.
                for child in list(self._children.values()):
                    _kill(child.pid)
                return
            self._supervise()
            if self._ahead and not any(child.request["ahead"] for child in self._children.values()):
                self._start(self._ahead.pop(0))

    def end_at_once(self) -> None:
        """End the process and its checks, also while it imports something."""
        for child in list(self._children.values()):
            _kill(child.pid)
        os._exit(0)

    def _take(self, data: bytes) -> None:
        self._pending += data
        while b"\n" in self._pending:
            line, _, rest = self._pending.partition(b"\n")
            self._pending = bytearray(rest)
            try:
                request = json.loads(line)
            except ValueError:  # a solution wrote here: the client starts another server
                self.end_at_once()
            if "drop" in request:
                self._drop(request["drop"])
            elif "wanted" in request:
                self._start_now(request["wanted"])
            elif request.get("check") is None:
                self._import_for(request["exercise"])
            elif request["ahead"]:
                self._ahead.append(request)
            else:
                self._start(request)

    def _start_now(self, number: int) -> None:
        """Start a check that was requested ahead, since somebody waits for it now."""
        for request in [request for request in self._ahead if request["id"] == number]:
            self._ahead.remove(request)
            self._start(request | {"ahead": False})

    def _start(self, request: dict[str, Any]) -> None:
        if fault := self._import_for(request["exercise"]):
            _write(self._answers_fd, {"id": request["id"], "ended": "this machine", "fault": fault})
            return
        verdict_read, verdict_write = os.pipe()
        output_read, output_write = os.pipe()
        sys.stdout.flush()
        # A process that ends now must know the child, to stop it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        with warnings.catch_warnings():
            # JAX and Python warn about forking with threads. There are none: no backend has been
            # started.
            warnings.simplefilter("ignore")
            pid = os.fork()
        if pid == 0:
            end_after(lambda: _run_child(self._catalogue.source, request, verdict_write, output_write))
        os.close(verdict_write)
        os.close(output_write)
        child = Child(request, pid, time.monotonic(), verdict_read, output_read)
        self._children[pid] = child
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        for fd in (verdict_read, output_read):
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, child)

    def _import_for(self, exercise: str) -> str:
        """Import what an exercise needs. Returns why it cannot be imported, which is empty."""
        if not self._foreign_modules_seen:
            if foreign := foreign_modules():
                return "; ".join(f"{name} is imported from {file}" for name, file in foreign.items())
            self._foreign_modules_seen = True
        try:
            import_for(self._catalogue, exercise)
        except Exception as error:  # whatever the installed libraries raise
            return f"the checks cannot be imported ({described(error)})"
        return ""

    def _read(self, fd: int) -> None:
        child = self._selector.get_key(fd).data
        with contextlib.suppress(BlockingIOError):
            data = os.read(fd, 65536)
            if not data:
                self._selector.unregister(fd)
            elif fd == child.verdict_fd:
                child.verdict += data
            else:
                child.printed += len(data)
                child.output = (child.output + data)[-OUTPUT_KEPT:]

    def _supervise(self) -> None:
        for pid, child in list(self._children.items()):
            seconds = time.monotonic() - child.started
            if child.verdict.endswith(b"\n") or len(child.verdict) > VERDICT_LIMIT:
                self._finish(child, read_verdict(bytes(child.verdict)))
            elif child.printed > OUTPUT_LIMIT:
                self._finish(child, {"ended": "printed too much", "printed": child.printed})
            elif seconds > WAITING_FACTOR * child.request["limit"]:
                self._finish(child, {"ended": "waited"})
            else:
                ended, status, child.usage = os.wait4(pid, os.WNOHANG | os.WUNTRACED)
                if ended and os.WIFSTOPPED(status):
                    # By the solution. Nothing would continue it.
                    self._finish(child, end_of_process(-os.WSTOPSIG(status)))
                elif ended:
                    # The last output may still be in the pipe.
                    for fd in (child.verdict_fd, child.output_fd):
                        if fd in self._selector.get_map():
                            self._read(fd)
                    if child.verdict.endswith(b"\n"):
                        self._finish(child, read_verdict(bytes(child.verdict)))
                    else:
                        self._finish(child, end_of_process(os.waitstatus_to_exitcode(status)))

    def _drop(self, number: int) -> None:
        """Stop a check whose verdict is not needed any more, if it is still running."""
        self._ahead = [request for request in self._ahead if request["id"] != number]
        for child in list(self._children.values()):
            if child.request["id"] == number:
                self._end(child)

    def _finish(self, child: Child, result: dict[str, Any]) -> None:
        self._end(child)
        answer = {
            "id": child.request["id"],
            "output": child.output.decode(errors="replace"),
            "wall_seconds": round(time.monotonic() - child.started, 3),
            "limit": child.request["limit"],
            "cpu_seconds": cpu_seconds(child.usage),
        }
        _write(self._answers_fd, answer | result)

    def _end(self, child: Child) -> None:
        child.usage = _kill(child.pid) or child.usage
        for fd in (child.verdict_fd, child.output_fd):
            if fd in self._selector.get_map():
                if fd == child.output_fd:
                    self._read(fd)
                if fd in self._selector.get_map():
                    self._selector.unregister(fd)
            os.close(fd)
        del self._children[child.pid]


def _run_child(source: str, request: dict[str, Any], verdict_fd: int, output_fd: int) -> None:
    """Make a check in this process, and write its verdict."""
    end_with_parent()
    # A session of its own, so that processes that the solution starts are stopped with it.
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    # The other descriptors are the parent's: the answers, and the pipes of other checks.
    os.closerange(3, verdict_fd)
    os.closerange(verdict_fd + 1, os.sysconf("SC_OPEN_MAX"))
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    if request["check"] == CANARY:
        limit_cpu(request["limit"])
        verdict = run_canary()
    else:
        if not request["cache"]:
            without_cache()
        verdict = run_in_two_processes(source, request)
    sys.stdout.flush()
    sys.stderr.flush()
    _write(verdict_fd, verdict)


def read_verdict(data: bytes) -> dict[str, Any]:
    """The result that a check's process wrote, or that it cannot be read.

    Texts may be a learner's, and where there is no fork a learner's code ran in that process. So
    only the expected fields of the expected types are taken.
    """
    try:
        content = json.loads(data)
        if isinstance(content.get("ended"), str):
            return {name: content[name] for name in ("ended", "exit_code") if name in content}
        if isinstance(fault := content.get("fault"), str):
            return {"fault": inert(fault)}
        if isinstance(error := content.get("error"), str):
            return {"error": inert(error)}
        diagnosis = content["diagnosis"] and Diagnosis.from_dict(content["diagnosis"]).as_dict()
        measured = {str(name): float(figure) for name, figure in content["measured"].items()}
        return {"diagnosis": diagnosis, "measured": measured}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"ended": "unreadable"}


def _write(fd: int, content: dict[str, Any]) -> None:
    """Write a complete line of JSON."""
    data = (json.dumps(content) + "\n").encode()
    while data:
        data = data[os.write(fd, data) :]


def _kill(pid: int) -> resource.struct_rusage | None:
    """Stop a child and its processes, and return what it used; None if it had ended before."""
    for stop in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            stop(pid, signal.SIGKILL)
    usage = None
    with contextlib.suppress(ChildProcessError):
        usage = os.wait4(pid, 0)[2]
    # Those of its session, which this process has inherited.
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-pid, 0)
    return usage


def cpu_seconds(usage: resource.struct_rusage | None) -> float | None:
    """CPU time of a process that has ended."""
    return None if usage is None else round(usage.ru_utime + usage.ru_stime, 1)


def main() -> None:
    """Serve checks on the processor: ``python -m kit.judge.server CATALOGUE DEVICES``."""
    protect_memory()
    inherit_orphans()
    answers_fd = os.dup(1)
    os.dup2(2, 1)
    prepare_environment("cpu", int(sys.argv[2]))
    server = Server(Catalogue.from_source(sys.argv[1]), answers_fd)
    signal.signal(signal.SIGTERM, lambda number, frame: server.end_at_once())
    # Ctrl-C is the client's, who then stops this process; a solution may send it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server.serve()
    # Nothing is left to write, and unloading the libraries would delay the client.
    os._exit(0)


if __name__ == "__main__":
    main()
