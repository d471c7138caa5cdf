"""Processes that come together before JAX connects them: one that does not come, dies or is another one ends in a sentence. No jax is needed."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

PROGRAM = """
import sys, time
from kit.errors import UserError
from kit.runtime import processes
processes.MEETING_SECONDS, processes.SILENT_SECONDS = float(sys.argv[1]), 0.2
try:
    with processes.watched(processes.processes_of_environment()):
        print("all are here", flush=True)
        sys.stdin.readline()
except UserError as error:
    sys.exit(f"kit: {error}")
"""

Begin = Callable[..., subprocess.Popen]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begins a process of so many, which ends when its standard input does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    begun: list[subprocess.Popen] = []

    def one(number: int, count: int = 3, seconds: float = 30) -> subprocess.Popen:
        environment = {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(seconds)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield one
    for process in begun:
        process.kill()
        process.communicate()


def end_of(process: subprocess.Popen) -> tuple[int, str]:
    """Its status, and the last line of what it said."""
    _, said = process.communicate(timeout=30)
    assert "Traceback" not in said
    return process.returncode, said.strip().splitlines()[-1]


def all_here(*processes: subprocess.Popen) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "all are here\n"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_they_wait_for_each_other_in_any_order(begin: Begin, order: tuple[int, ...]) -> None:
    begun = []
    for number in order:
        begun.append(begin(number))
        time.sleep(0.3)
    all_here(*begun)


@pytest.mark.parametrize("dies", [0, 1])
def test_one_that_dies_ends_the_others(begin: Begin, dies: int) -> None:
    begun = [begin(number) for number in range(3)]
    all_here(*begun)
    begun[dies].kill()
    for number in {0, 1, 2} - {dies}:
        status, sentence = end_of(begun[number])
        assert status == 3
        assert sentence.startswith(f"kit: process {dies} of 3 has ended before its time, so process {number} ends too.")


def test_one_that_does_not_come(begin: Begin) -> None:
    first, second = begin(0, seconds=1.5), begin(2)
    status, sentence = end_of(first)
    assert status == 1
    assert "has waited 1.5 s at port " in sentence
    assert " for process 1 of 3: start all within that time" in sentence
    # The one that has come is not left behind.
    assert "has ended before all others had come" in end_of(second)[1]


def test_process_0_does_not_come(begin: Begin) -> None:
    status, sentence = end_of(begin(1, seconds=1))
    assert status == 1
    assert "kit: Process 0 was not reached at 127.0.0.1:" in sentence
    assert " for 1 s (Connection refused): start it, or mend KERAS_DISTRIBUTION_JOB_ADDRESSES." in sentence


def test_it_says_what_it_waits_for(begin: Begin) -> None:
    first = begin(0)
    assert first.stderr is not None
    assert first.stderr.readline().startswith("kit: waiting for processes 1, 2 of 3, at port ")


def test_one_that_went_may_come_again(begin: Begin) -> None:
    first, gone = begin(0), begin(1)
    time.sleep(0.7)
    gone.kill()
    gone.wait()
    all_here(first, begin(1), begin(2))


def test_others_than_they_should_be(begin: Begin) -> None:
    first, second = begin(0), begin(1)
    time.sleep(0.7)
    for process, sentence in (
        (begin(1), "refuses process 1: another process has the number 1 as well."),
        (begin(2, count=4), "refuses process 2: KERAS_DISTRIBUTION_NUM_PROCESSES is 4 here, and 3 in process 0."),
    ):
        status, said = end_of(process)
        assert status == 1
        assert said.endswith(sentence)
    all_here(first, second, begin(2))


def test_a_stranger_is_ignored(begin: Begin) -> None:
    first = begin(0)
    assert first.stderr is not None
    port = int(first.stderr.readline().partition(" at port ")[2].partition(",")[0])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(1) == b""
    all_here(first, begin(1), begin(2))


def test_a_port_that_is_taken(begin: Begin) -> None:
    first = begin(0)
    time.sleep(0.5)
    status, sentence = end_of(begin(0))
    assert status == 1
    assert sentence.endswith("cannot be listened at (Address already in use); choose another.")
    all_here(first, begin(1), begin(2))
