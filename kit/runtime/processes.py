"""Several processes that train one model: found by Keras' environment variables, and ended together."""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kit.errors import UserError

ADDRESSES, COUNT, ID = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)
#: What a process says to the others before it ends as it should.
_DONE = b"done\n"
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
    def several(self) -> bool:
        """Whether there are more than one."""
        return self.count > 1

    @property
    def connected(self) -> bool:
        """Whether Keras connects them. One that is alone may be as well: then its sums are made as those of several are."""
        return bool(self.addresses)


#: One process, as nearly always.
ALONE = Processes()


def processes_of_environment() -> Processes:
    """What Keras' environment variables say; one process if they are not set.

    Raises:
        UserError: if they are incomplete, or make no sense.

    """
    given = {name: os.environ.get(name, "") for name in (ADDRESSES, COUNT, ID)}
    if not any(given.values()):
        return ALONE
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
    """Have Keras connect them, if its variables were set. To be called before a backend is started; waits for the others.

    Raises:
        UserError: if process 0's address cannot be listened at, or if the others do not come.

    """
    if not processes.connected:
        return
    _check_address(processes)
    import jax
    import keras

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # A process that dies is told of by `watch`, in a sentence; without this each of the others would abort with a page of text.
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


def _check_address(processes: Processes) -> None:
    host, _, port = processes.addresses.split(",")[0].rpartition(":")
    if processes.is_main:
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", int(port)))
            except OSError as error:
                raise UserError(
                    f"{ADDRESSES}: port {port} cannot be listened at ({error.strerror}); choose another."
                ) from None
        return
    until = time.monotonic() + 120
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise UserError(
                    f"Process 0 was not reached at {host}:{port} for two minutes ({error.strerror or error}): start it, or mend {ADDRESSES}."
                ) from None
            time.sleep(0.2)


@dataclass
class Watch:
    """Connections to the other processes, which break when one of them dies."""

    processes: Processes
    #: Told after the sentence about a process that has died, such as how to go on.
    remedy: str = ""
    _others: list[tuple[int, Any]] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _finished: bool = False
    _telling: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Connect to process 0, or as process 0 to all others, and look at the connections from now on."""
        import numpy as np
        from jax.experimental import multihost_utils

        listener = socket.create_server(("", 0)) if self.processes.is_main else None
        own_port = listener.getsockname()[1] if listener else 0
        port = int(multihost_utils.broadcast_one_to_all(np.int32(own_port)))
        if listener:
            for _ in range(self.processes.count - 1):
                connection, _address = listener.accept()
                number = int.from_bytes(connection.recv(4), "big")
                self._others.append((number, connection))
            listener.close()
        else:
            host = self.processes.addresses.split(",")[0].rpartition(":")[0]
            connection = socket.create_connection((host, port), timeout=60)
            connection.settimeout(None)
            connection.sendall(self.processes.id.to_bytes(4, "big"))
            self._others.append((0, connection))
        for number, connection in self._others:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, seconds in _KEEPALIVE.items():
                if hasattr(socket, name):
                    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
            thread = threading.Thread(target=self._look, args=(number, connection), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _look(self, number: int, connection: socket.socket) -> None:
        try:
            said = connection.makefile("rb").readline()
        except OSError:
            said = b""
        if said == _DONE or self._finished:
            return
        # Process 0 knows which one it was, and says so to the others.
        dead = int(said) if said.strip().isdigit() else number
        with self._telling:
            for _, other in self._others:
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
        for _, connection in self._others:
            with contextlib.suppress(OSError):
                connection.sendall(_DONE)
        if self.processes.is_main:
            for thread in self._threads:
                thread.join(timeout=30)
            jax.distributed.shutdown()


@contextlib.contextmanager
def watched(processes: Processes) -> Iterator[Watch]:
    """Watch the other processes, if there are any, until this is left."""
    watch = Watch(processes)
    if processes.several:
        watch.begin()
    try:
        yield watch
        if processes.several:
            watch.finish()
    except Exception:
        if processes.several:
            watch.wait_for_a_verdict()
        raise
