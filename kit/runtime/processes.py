"""Several processes that train one model: they find each other, and end together."""

import contextlib
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from kit.errors import UserError
from kit.runtime.interrupts import INTERRUPTS, RunStopped

ADDRESSES, COUNT, ID = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)
#: A process first sends a hello with the number of processes and its own; process 0 answers when
#: all are connected; before its regular end a process sends that it is done.
_HELLO, _GO, _DONE = b"kit-run", b"go\n", b"done\n"
#: Another process asks process 0 to stop after a step, which then publishes the step.
_STOP = b"stop\n"
_LAST_STEP = "kit/last-step"
#: Processes wait for each other this long at the start, and report it after this time.
MEETING_SECONDS = 300.0
SILENT_SECONDS = 10.0
#: Exit status of a process that ends because another one has died.
ENDED_WITH_ANOTHER = 3
#: Seconds until a host that vanishes is noticed.
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


@dataclass(frozen=True)
class Processes:
    """The processes of a run."""

    count: int = 1
    #: The number of this process, from 0.
    id: int = 0
    #: ``host:port`` of process 0, or of all processes.
    addresses: str = ""

    @property
    def is_main(self) -> bool:
        """Whether this is process 0, the only one that prints and writes the run folder."""
        return self.id == 0

    @property
    def is_distributed(self) -> bool:
        """Whether there is more than one process."""
        return self.count > 1

    @property
    def connected(self) -> bool:
        """Whether Keras connects the processes; a single one then computes sums as several do."""
        return bool(self.addresses)


#: A run in one process.
SINGLE_PROCESS = Processes()


def processes_of_environment() -> Processes:
    """The processes of Keras' variables, by default one.

    Raises UserError if these are inconsistent.
    """
    given = {name: os.environ.get(name, "") for name in (ADDRESSES, COUNT, ID)}
    if not any(given.values()):
        return SINGLE_PROCESS
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise UserError(
            f"{', '.join(missing)} is not set: for several processes Keras needs {ADDRESSES} (host:port of process 0), "
            f"{COUNT} and {ID}."
        )
    try:
        count, number = int(given[COUNT]), int(given[ID])
    except ValueError:
        raise UserError(f"{COUNT}={given[COUNT]}, {ID}={given[ID]}: both must be whole numbers.") from None
    if not 0 <= number < count:
        raise UserError(f"{ID}={number}: with {COUNT}={count} it must be from 0 to {count - 1}.")
    hosts = given[ADDRESSES].split(",")
    if len(hosts) not in (1, count):
        raise UserError(
            f"{ADDRESSES} has {len(hosts)} addresses, but {COUNT} is {count}: give that of process 0, or all."
        )
    host, _, port = hosts[0].rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"{ADDRESSES}={given[ADDRESSES]}: an address is host:port, such as 10.0.0.1:1234.")
    return Processes(count, number, given[ADDRESSES])


def connect(processes: Processes) -> None:
    """Let Keras connect the processes, after all have met, and before JAX starts a backend."""
    if not processes.connected:
        return
    import jax
    import keras

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # `Watch` reports a dead process in one sentence. Without this option each other process would
    # abort with a page of text.
    jax.config.update("jax_enable_recoverability", True)
    keras.distribution.initialize()


def keep_standard_output_for_python() -> None:
    """Discard what C++ prints to standard output: gloo would mix a line per connection into JSON.

    This replaces ``sys.stdout``: call it before anything keeps a reference to it. Standard error
    stays unchanged.
    """
    sys.stdout.flush()
    own = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    stream: Any = sys.stdout
    sys.stdout = open(  # noqa: SIM115  # until the process ends
        own, "w", encoding=stream.encoding, errors=stream.errors, buffering=1 if stream.line_buffering else -1
    )


def wait_for_all(what: str) -> None:
    """Wait over the network until all processes are here; ``what`` is used once per run."""
    day = 24 * 60 * 60 * 1000
    _coordinator().wait_at_barrier(f"kit: {what}", day)


@dataclass
class LastStep:
    """The step after which Ctrl-C in any process stops all of them."""

    processes: Processes
    _step: int | None = None

    def is_now(self, step: int) -> bool:
        """Whether the run stops here. Each process asks after each step, in their order."""
        if not self.processes.is_distributed:
            return INTERRUPTS.requested
        if self._step is None and self.processes.is_main and INTERRUPTS.requested:
            # When a process asks after a step, the one before is done in all. So no process asks
            # after the next but one before this process has begun the next, which it does later.
            self._step = step + 2
            _coordinator().key_value_set(_LAST_STEP, str(self._step))
        elif self._step is None and not self.processes.is_main:
            with contextlib.suppress(Exception):  # JAX has no class for "not found"
                self._step = int(_coordinator().key_value_try_get(_LAST_STEP))
        return step == self._step


def _coordinator() -> Any:
    from jax._src import distributed

    client = distributed.global_state.client
    assert client is not None, "the processes are not connected"
    return client


@dataclass
class Watch:
    """Connections between the processes, which break when a process dies.

    They are made before JAX connects the processes: JAX would wait five minutes for a missing
    process in silence, and then abort with a page of text. Process 0 listens at its address until
    all are connected; then JAX does.
    """

    processes: Processes
    #: Printed after the sentence about a process that has died, for example how to resume.
    remedy: str = ""
    #: Number of a process -> its connection and the reader of that.
    _others: dict[int, tuple[socket.socket, IO[bytes]]] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)
    _finished: bool = False
    _reporting: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Connect all processes at process 0's address, and watch the connections from then on.

        Raises UserError if process 0 cannot listen, if a process is missing, or if one does not
        belong here.
        """
        host, _, port = self.processes.addresses.split(",")[0].rpartition(":")
        if self.processes.is_main:
            self._accept_all(int(port))
        else:
            self._join(host, int(port))
        for number, (connection, reader) in self._others.items():
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, seconds in _KEEPALIVE.items():
                if hasattr(socket, name):
                    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
            thread = threading.Thread(target=self._watch_connection, args=(number, reader), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _accept_all(self, port: int) -> None:
        """In process 0: accept the others, and answer when all are connected."""
        try:
            listener = socket.create_server(("", port))
        except OSError as error:
            raise UserError(
                f"{ADDRESSES}: port {port} cannot be used ({os.strerror(error.errno or 0)}); choose another."
            ) from None
        clock = _Clock()
        with listener:
            while missing := set(range(1, self.processes.count)) - set(self._others):
                plural = "" if len(missing) == 1 else "es"
                names = f"process{plural} {', '.join(map(str, sorted(missing)))} of {self.processes.count}"
                if clock.is_over():
                    raise UserError(
                        f"Process 0 has waited {MEETING_SECONDS:g} s at port {port} for {names}: start all within that "
                        "time, with the same command line, and read the output of those that ended."
                    )
                clock.report(f"waiting for {names}, at port {port}")
                sockets = {connection: number for number, (connection, _) in self._others.items()}
                for ready in select.select([listener, *sockets], [], [], 0.5)[0]:
                    if ready is listener:
                        self._identify(listener.accept()[0])
                    else:
                        # It has ended, and may be started again.
                        del self._others[sockets[ready]]
        for connection, _ in self._others.values():
            with contextlib.suppress(OSError):
                connection.sendall(_GO)

    def _identify(self, connection: socket.socket) -> None:
        """Read which process has connected, and refuse it if it does not belong here."""
        connection.settimeout(5)
        reader = connection.makefile("rb")
        try:
            word, count, number = reader.readline(64).split()
            hello = (word, int(count), int(number))
        except (OSError, ValueError):
            hello = (b"", 0, 0)
        if hello[0] != _HELLO:
            connection.close()
            return
        refusal = ""
        if hello[1] != self.processes.count:
            refusal = f"{COUNT} is {hello[1]} here, but {self.processes.count} in process 0"
        elif hello[2] in self._others or not 0 < hello[2] < hello[1]:
            refusal = f"another process has the number {hello[2]} too"
        if refusal:
            with contextlib.suppress(OSError):
                connection.sendall(f"{refusal}\n".encode())
            connection.close()
        else:
            self._others[hello[2]] = connection, reader

    def _join(self, host: str, port: int) -> None:
        """In another process: connect to process 0, and wait until all are connected."""
        clock = _Clock()
        while True:
            try:
                connection = socket.create_connection((host, port), timeout=5)
                break
            except OSError as error:
                if clock.is_over():
                    raise UserError(
                        f"Process 0 was not reached at {host}:{port} for {MEETING_SECONDS:g} s "
                        f"({error.strerror or error}): start it, or fix {ADDRESSES}."
                    ) from None
                clock.report(f"waiting for process 0, at {host}:{port}")
                time.sleep(0.2)
        # Process 0 has its own time limit.
        connection.settimeout(2 * MEETING_SECONDS)
        reader = connection.makefile("rb")
        try:
            connection.sendall(b"%s %d %d\n" % (_HELLO, self.processes.count, self.processes.id))
            answer = reader.readline()
        except OSError:
            answer = b""
        if not answer:
            raise UserError(
                f"Process 0, at {host}:{port}, has ended before all processes were connected: read its output."
            )
        if answer != _GO:
            raise UserError(
                f"Process 0, at {host}:{port}, refuses process {self.processes.id}: "
                f"{answer.decode(errors='replace').strip()}."
            )
        self._others[0] = connection, reader

    def _watch_connection(self, number: int, reader: IO[bytes]) -> None:
        said = _STOP
        while said == _STOP:
            try:
                said = reader.readline()
            except OSError:
                said = b""
            if said == _STOP:
                INTERRUPTS.request_of_another_process()
        if said == _DONE or self._finished:
            return
        # Process 0 knows which process has died, and reports it to the others.
        dead = int(said) if said.strip().isdigit() else number
        with self._reporting:
            for other, _ in self._others.values():
                with contextlib.suppress(OSError):
                    other.sendall(f"{dead}\n".encode())
            print(
                f"kit: process {dead} of {self.processes.count} has died, so process {self.processes.id} ends too."
                + (f" {self.remedy}" if self.remedy and self.processes.is_main else ""),
                file=sys.stderr,
                flush=True,
            )
            os._exit(ENDED_WITH_ANOTHER)

    def ask_to_stop(self) -> None:
        """Ask process 0 to stop all processes after a step."""
        if not self.processes.is_main:
            self._others[0][0].sendall(_STOP)

    def wait_for_report_of_death(self) -> None:
        """Give the watch time to report a dead process, which may have caused an error here."""
        time.sleep(3)
        with self._reporting:
            return

    def finish(self) -> None:
        """End regularly. Process 0 waits for the others, which would abort without it."""
        import jax

        wait_for_all("the end")
        self._finished = True
        if not self.processes.is_main:
            jax.distributed.shutdown()
        for connection, _ in self._others.values():
            with contextlib.suppress(OSError):
                connection.sendall(_DONE)
        if self.processes.is_main:
            for thread in self._threads:
                thread.join(timeout=30)
            jax.distributed.shutdown()


class _Clock:
    """The time that a process waits for others; it reports the waiting once."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._reported = False

    def is_over(self) -> bool:
        return time.monotonic() - self._began > MEETING_SECONDS

    def report(self, what: str) -> None:
        if not self._reported and time.monotonic() - self._began > SILENT_SECONDS:
            self._reported = True
            print(f"kit: {what}, for at most {MEETING_SECONDS:g} s", file=sys.stderr, flush=True)


@contextlib.contextmanager
def watched(processes: Processes) -> Iterator[Watch]:
    """Watch the other processes, if there are any, in this context."""
    watch = Watch(processes)
    if processes.connected:
        watch.start()
        INTERRUPTS.ask_others = watch.ask_to_stop
    try:
        yield watch
        if processes.is_distributed:
            watch.finish()
    except RunStopped:
        if processes.is_distributed:
            watch.finish()
        raise
    except Exception:
        if processes.is_distributed:
            watch.wait_for_report_of_death()
        raise
