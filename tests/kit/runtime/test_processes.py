"""Processes that wait for each other, without jax; each failure is one sentence."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from command_line import process_of_several

from kit.errors import UserError
from kit.runtime.processes import COUNT, ID, Processes, processes_of_environment

PROGRAM = """
import sys, time
from kit.errors import UserError
from kit.runtime import processes
processes.MEETING_SECONDS, processes.SILENT_SECONDS = float(sys.argv[1]), 0.2
try:
    with processes.watched(processes.processes_of_environment()):
        print("all are connected", flush=True)
        sys.stdin.readline()
except UserError as error:
    sys.exit(f"kit: {error}")
"""

Start = Callable[..., subprocess.Popen]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts one of several processes, which ends when its standard input does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started: list[subprocess.Popen] = []

    def one(number: int, count: int = 3, seconds: float = 30) -> subprocess.Popen:
        environment, pipe = process_of_several(port, count, number), subprocess.PIPE
        command = [sys.executable, "-c", PROGRAM, str(seconds)]
        process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()
        process.communicate()


def end_of(process: subprocess.Popen) -> tuple[int, str]:
    """The exit status, and the last line of standard error."""
    _, printed = process.communicate(timeout=30)
    assert "Traceback" not in printed
    return process.returncode, printed.strip().splitlines()[-1]


def all_connected(*processes: subprocess.Popen) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "all are connected\n"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_they_wait_for_each_other_in_any_order(start: Start, order: tuple[int, ...]) -> None:
    started = []
    for number in order:
        started.append(start(number))
        time.sleep(0.3)
    all_connected(*started)


@pytest.mark.parametrize("dies", [0, 1])
def test_a_process_that_dies_ends_the_others(start: Start, dies: int) -> None:
    started = [start(number) for number in range(3)]
    all_connected(*started)
    started[dies].kill()
    for number in {0, 1, 2} - {dies}:
        status, sentence = end_of(started[number])
        assert status == 3
        assert sentence.startswith(f"kit: process {dies} of 3 has died, so process {number} ends too.")


def test_a_missing_process(start: Start) -> None:
    first, second = start(0, seconds=1.5), start(2)
    status, sentence = end_of(first)
    assert status == 1
    assert "has waited 1.5 s at port " in sentence
    assert " for process 1 of 3: start all within that time" in sentence
    # The process that is connected ends too.
    assert "has ended before all processes were connected" in end_of(second)[1]


def test_process_0_is_missing(start: Start) -> None:
    status, sentence = end_of(start(1, seconds=1))
    assert status == 1
    assert "kit: Process 0 was not reached at 127.0.0.1:" in sentence
    assert " for 1 s (Connection refused): start it, or fix KERAS_DISTRIBUTION_JOB_ADDRESSES." in sentence


def test_waiting_is_reported(start: Start) -> None:
    first = start(0)
    assert first.stderr is not None
    assert first.stderr.readline().startswith("kit: waiting for processes 1, 2 of 3, at port ")


def test_a_process_may_start_again(start: Start) -> None:
    first, gone = start(0), start(1)
    time.sleep(0.7)
    gone.kill()
    gone.wait()
    all_connected(first, start(1), start(2))


def test_processes_that_do_not_belong_here(start: Start) -> None:
    first, second = start(0), start(1)
    time.sleep(0.7)
    for process, sentence in (
        (start(1), "refuses process 1: another process has the number 1 too."),
        (start(2, count=4), "refuses process 2: KERAS_DISTRIBUTION_NUM_PROCESSES is 4 here, but 3 in process 0."),
    ):
        status, printed = end_of(process)
        assert status == 1
        assert printed.endswith(sentence)
    all_connected(first, second, start(2))


def test_other_connections_are_ignored(start: Start) -> None:
    first = start(0)
    assert first.stderr is not None
    port = int(first.stderr.readline().partition(" at port ")[2].partition(",")[0])
    with socket.create_connection(("127.0.0.1", port)) as other:
        other.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert other.recv(1) == b""
    all_connected(first, start(1), start(2))


def test_a_port_in_use(start: Start) -> None:
    first = start(0)
    time.sleep(0.5)
    status, sentence = end_of(start(0))
    assert status == 1
    assert sentence.endswith("cannot be used (Address already in use); choose another.")
    all_connected(first, start(1), start(2))


def test_nothing_set_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"):
        monkeypatch.delenv(f"KERAS_DISTRIBUTION_{name}", raising=False)
    assert processes_of_environment() == Processes(1, 0)


@pytest.mark.parametrize(
    ("addresses", "count", "number", "message"),
    [
        ("", "2", "0", "KERAS_DISTRIBUTION_JOB_ADDRESSES is not set"),
        ("host:1", "two", "0", "both must be whole numbers"),
        ("host:1", "2", "2", f"{ID}=2: with {COUNT}=2 it must be from 0 to 1"),
        ("a:1,b:1,c:1", "2", "0", "has 3 addresses, but KERAS_DISTRIBUTION_NUM_PROCESSES is 2"),
        ("host", "2", "0", "an address is host:port"),
    ],
)
def test_a_wrong_environment(
    addresses: str, count: str, number: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("JOB_ADDRESSES", addresses), ("NUM_PROCESSES", count), ("PROCESS_ID", number)):
        monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
    with pytest.raises(UserError, match=message):
        processes_of_environment()
