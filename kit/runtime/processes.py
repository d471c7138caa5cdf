"""Several processes that train one model: found by Keras' environment variables, and ended together."""

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

ADDRESSES, COUNT, ID = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)
#: What a process says first, with how many there are and its own number; what process 0 answers when all have come; and what a
#: process says to the others before it ends as it should.
_HELLO, _GO, _DONE = b"kit-run", b"go\n", b"done\n"
#: How long processes wait for each other at the beginning, and after how long they say so.
MEETING_SECONDS = 300.0
SILENT_SECONDS = 10.0
#: After another process has ended before its time, this one ends with this status.
ENDED_WITH_ANOTHER = 3
#: A host that goes away without a word is noticed after so many seconds.
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


@dataclass(frozen=True)
class Processes:
    """The processes of a run."""

    count: int = 1
    #: This one's number, from 0.
    id: int = 0
    #: ``host:port`` of process 0, or of all.
    addresses: str = ""

    @property
    def is_main(self) -> bool:
        """Whether this is the one that talks, and that writes the run's folder."""
        return self.id == 0

    @property
    def is_distributed(self) -> bool:
        """Whether there are more than one."""
        return self.count > 1

    @property
    def connected(self) -> bool:
        """Whether Keras connects them. One that is alone may be as well: then its sums are made as those of several are."""
        return bool(self.addresses)


#: One process, as nearly always.
SINGLE_PROCESS = Processes()


def processes_of_environment() -> Processes:
    """What Keras' environment variables say; one process if they are not set.

    Raises:
        UserError: if they are incomplete, or make no sense.

    """
    given = {name: os.environ.get(name, "") for name in (ADDRESSES, COUNT, ID)}
    if not any(given.values()):
        return SINGLE_PROCESS
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise UserError(
            f"{', '.join(missing)} is not set: for several processes Keras takes {ADDRESSES} (host:port of process 0), {COUNT} and {ID}."
        )
    try:
        count, number = int(given[COUNT]), int(given[ID])
    except ValueError:
        raise UserError(f"{COUNT}={given[COUNT]}, {ID}={given[ID]}: both are whole numbers.") from None
    if not 0 <= number < count:
        raise UserError(f"{ID}={number}: with {COUNT}={count} it is from 0 to {count - 1}.")
    hosts = given[ADDRESSES].split(",")
    if len(hosts) not in (1, count):
        raise UserError(
            f"{ADDRESSES} has {len(hosts)} addresses, and {COUNT} is {count}: give that of process 0, or all."
        )
    host, _, port = hosts[0].rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"{ADDRESSES}={given[ADDRESSES]}: an address is host:port, such as 10.0.0.1:1234.")
    return Processes(count, number, given[ADDRESSES])


def connect(processes: Processes) -> None:
    """Have Keras connect them, if its variables were set. To be called after all have met, and before a backend is started."""
    if not processes.connected:
        return
    import jax
    import keras

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # A process that dies is told of by a `Watch`, in a sentence; without this each of the others would abort with a page of text.
    jax.config.update("jax_enable_recoverability", True)
    keras.distribution.initialize()


def keep_standard_output_for_python() -> None:
    """Have what C++ prints to standard output go nowhere: gloo has a line for each connection, and `--json` promises JSON alone.

    To be called before anything holds on to ``sys.stdout``, which is another after this. Errors are told at standard error, as before.
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
    """Come together with all other processes, by the network alone: the devices may be at other things.

    Args:
        what: A name, which is used once in a run.

    """
    from jax._src import distributed

    client = distributed.global_state.client
    assert client is not None, "the processes are not connected"
    day = 24 * 60 * 60 * 1000
    client.wait_at_barrier(f"kit: {what}", day)


@dataclass
class Watch:
    """Connections to the other processes, which break when one of them dies.

    They are made before JAX connects the processes: it would wait five minutes for one that does not come, without a word, and then
    abort with a page of text. Process 0 listens at its address until all have come, and JAX does after that.
    """

    processes: Processes
    #: Told after the sentence about a process that has died, such as how to go on.
    remedy: str = ""
    #: Number of a process -> the connection to it, and what reads from it.
    _others: dict[int, tuple[socket.socket, IO[bytes]]] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)
    _finished: bool = False
    _telling: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Wait for all others at process 0's address, and look at the connections from then on.

        Raises:
            UserError: if the address cannot be listened at, if a process does not come, or if one is not who it should be.

        """
        host, _, port = self.processes.addresses.split(",")[0].rpartition(":")
        if self.processes.is_main:
            self._receive(int(port))
        else:
            self._go_to(host, int(port))
        for number, (connection, reader) in self._others.items():
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, seconds in _KEEPALIVE.items():
                if hasattr(socket, name):
                    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
            thread = threading.Thread(target=self._look, args=(number, reader), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _receive(self, port: int) -> None:
        """As process 0: take the connections of all others, and tell them to go on when all are there."""
        try:
            listener = socket.create_server(("", port))
        except OSError as error:
            raise UserError(
                f"{ADDRESSES}: port {port} cannot be listened at ({os.strerror(error.errno or 0)}); choose another."
            ) from None
        clock = _Clock()
        with listener:
            while missing := set(range(1, self.processes.count)) - set(self._others):
                names = f"process{'' if len(missing) == 1 else 'es'} {', '.join(map(str, sorted(missing)))} of {self.processes.count}"
                if clock.is_over():
                    raise UserError(
                        f"Process 0 has waited {MEETING_SECONDS:g} s at port {port} for {names}: start all within that time, with the same "
                        f"command line, and see what those that ended have said."
                    )
                clock.tell(f"waiting for {names}, at port {port}")
                sockets = {connection: number for number, (connection, _) in self._others.items()}
                for ready in select.select([listener, *sockets], [], [], 0.5)[0]:
                    if ready is listener:
                        self._introduce(listener.accept()[0])
                    else:
                        # It has gone, and may be started again.
                        del self._others[sockets[ready]]
        for connection, _ in self._others.values():
            with contextlib.suppress(OSError):
                connection.sendall(_GO)

    def _introduce(self, connection: socket.socket) -> None:
        """Hear who it is that has come."""
        connection.settimeout(5)
        reader = connection.makefile("rb")
        try:
            word, count, number = reader.readline(64).split()
            told = (word, int(count), int(number))
        except (OSError, ValueError):
            told = (b"", 0, 0)
        if told[0] != _HELLO:
            connection.close()
            return
        refusal = ""
        if told[1] != self.processes.count:
            refusal = f"{COUNT} is {told[1]} here, and {self.processes.count} in process 0"
        elif told[2] in self._others or not 0 < told[2] < told[1]:
            refusal = f"another process has the number {told[2]} as well"
        if refusal:
            with contextlib.suppress(OSError):
                connection.sendall(f"{refusal}\n".encode())
            connection.close()
        else:
            self._others[told[2]] = connection, reader

    def _go_to(self, host: str, port: int) -> None:
        """As another process: connect to process 0, and wait until all are there."""
        clock = _Clock()
        while True:
            try:
                connection = socket.create_connection((host, port), timeout=5)
                break
            except OSError as error:
                if clock.is_over():
                    raise UserError(
                        f"Process 0 was not reached at {host}:{port} for {MEETING_SECONDS:g} s ({error.strerror or error}): start it, or mend {ADDRESSES}."
                    ) from None
                clock.tell(f"waiting for process 0, at {host}:{port}")
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
            raise UserError(f"Process 0, at {host}:{port}, has ended before all others had come; see what it has said.")
        if answer != _GO:
            raise UserError(
                f"Process 0, at {host}:{port}, refuses process {self.processes.id}: {answer.decode(errors='replace').strip()}."
            )
        self._others[0] = connection, reader

    def _look(self, number: int, reader: IO[bytes]) -> None:
        try:
            said = reader.readline()
        except OSError:
            said = b""
        if said == _DONE or self._finished:
            return
        # Process 0 knows which one it was, and says so to the others.
        dead = int(said) if said.strip().isdigit() else number
        with self._telling:
            for other, _ in self._others.values():
                with contextlib.suppress(OSError):
                    other.sendall(f"{dead}\n".encode())
            print(
                f"kit: process {dead} of {self.processes.count} has ended before its time, so process {self.processes.id} ends too."
                + (f" {self.remedy}" if self.remedy and self.processes.is_main else ""),
                file=sys.stderr,
                flush=True,
            )
            os._exit(ENDED_WITH_ANOTHER)

    def wait_for_a_verdict(self) -> None:
        """After an error that may come from another's death: give the connections time to say so, and this process its end."""
        time.sleep(3)
        with self._telling:
            return

    def finish(self) -> None:
        """Say to the others that this process ends as it should. Process 0 waits for them: without it they would abort."""
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
    """How long a process waits for others to come. After a while it says so."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told = False

    def is_over(self) -> bool:
        return time.monotonic() - self._began > MEETING_SECONDS

    def tell(self, what: str) -> None:
        if not self._told and time.monotonic() - self._began > SILENT_SECONDS:
            self._told = True
            print(f"kit: {what}, for at most {MEETING_SECONDS:g} s", file=sys.stderr, flush=True)


@contextlib.contextmanager
def watched(processes: Processes) -> Iterator[Watch]:
    """Watch the other processes, if there are any, until this is left."""
    watch = Watch(processes)
    if processes.connected:
        watch.begin()
    try:
        yield watch
        if processes.is_distributed:
            watch.finish()
    except Exception:
        if processes.is_distributed:
            watch.wait_for_a_verdict()
        raise
