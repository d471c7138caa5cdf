"""Ctrl-C in processes that do what libraries do with it. No jax here."""

import signal
import subprocess
import sys
import time

import pytest
from command_line import heed_interrupts

PROGRAM = """
import hashlib, sys, time, weakref
from kit.runtime import interrupts
from kit.runtime.interrupts import INTERRUPTS

interrupts.PATIENCE = 0.5

def sleeps():
    time.sleep(30)

def swallows():
    while True:
        try:
            time.sleep(30)
        except KeyboardInterrupt:
            pass

def is_in_a_callback():
    class Referenced:
        pass
    referenced = Referenced()
    reference = weakref.ref(referenced, lambda _: time.sleep(2))
    del referenced
    time.sleep(30)

def makes_another_exception_of_it():
    try:
        time.sleep(30)
    except KeyboardInterrupt:
        raise RuntimeError("a callback failed") from None

def is_in_c():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def trains():
    with INTERRUPTS.deferred():
        for step in range(1, 100):
            time.sleep(0.2)
            if INTERRUPTS.requested:
                print("after a step", flush=True)
                raise KeyboardInterrupt

def is_in_a_long_step():
    with INTERRUPTS.deferred():
        is_in_c()

try:
    with INTERRUPTS.handled():
        INTERRUPTS.clean_up = lambda: print("cleaned up", flush=True)
        print("started", flush=True)
        globals()[sys.argv[1]]()
except KeyboardInterrupt:
    print("raised")
    sys.exit(130)
"""
MESSAGE = "kit: Ctrl-C: the run stops after this step, with a checkpoint; press it again to stop at once.\n"


def press(what: str, times: int = 1) -> tuple[str, str, float]:
    """Standard output, standard error and the seconds until the end, which is that of Ctrl-C."""
    command = [sys.executable, "-c", PROGRAM, what]
    pipe = subprocess.PIPE
    heed_interrupts()
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "started\n"
        time.sleep(0.3)  # until it is in what it does
        began = time.monotonic()
        errors = ""
        for number in range(times):
            if number:  # The signals of two that follow at once may be one.
                errors += process.stderr.readline()
            process.send_signal(signal.SIGINT)
        output, rest = process.communicate(timeout=20)
    assert process.returncode == 130, errors + rest
    return output, errors + rest, time.monotonic() - began


@pytest.mark.parametrize("what", ["sleeps", "is_in_a_callback", "makes_another_exception_of_it"])
def test_it_is_raised(what: str) -> None:
    output, errors, _ = press(what)
    assert (output, errors) == ("raised\n", "")


@pytest.mark.parametrize("what", ["swallows", "is_in_c"])
def test_code_that_does_not_end_is_ended(what: str) -> None:
    output, errors, seconds = press(what)
    assert (output, errors) == ("cleaned up\n", "kit: stopped.\n")
    assert 0.4 < seconds < 5


def test_a_step_of_training_is_finished() -> None:
    output, errors, _ = press("trains")
    assert (output, errors) == ("after a step\nraised\n", MESSAGE)


def test_a_second_one_does_not_wait() -> None:
    output, errors, seconds = press("is_in_a_long_step", times=2)
    assert (output, errors) == ("cleaned up\n", MESSAGE + "kit: stopped.\n")
    assert seconds < 5
