"""The two processes of a check: one runs the solution, the other judges what it sends.

The process that judges waits for the other one, which it has forked. A solution holds the write end
of one pipe, and no other descriptor of the kit. On Linux the kernel lets it read neither memory nor
descriptors of the process that judges, or of the warm parent: that takes privileges which the
process of a solution gives up, also if the superuser has started it.
"""

import contextlib
import os
import select
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from kit.judge import check_process
from kit.judge.channel import MESSAGE_LIMIT
from kit.runtime.cpu_limit import limit_cpu
from kit.runtime.privileges import end_with_parent, give_up_privileges, protect_memory

#: Seconds between two looks whether the process of a solution has ended without a message.
_LOOK = 0.02
#: A message follows its number of bytes.
_LENGTH = struct.Struct("<Q")
#: The only descriptor of the kit in the process of a solution.
_SENDER = 3


def run_in_two_processes(source: str, request: dict[str, Any]) -> dict[str, Any]:
    """Observe a solution in a new process, and judge it in this one.

    Returns what :func:`kit.judge.check_process.judge` does; or ``ended`` and what belongs to it, if
    the process of the solution ended without a message.
    """
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        end_after(lambda: _observe(source, request, sender))
    os.close(sender)
    protect_memory()
    message = _receive(receiver, pid)
    if message is None:
        return end_of_process(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    # It has nothing more to say, and would only take time from this one.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    limit_cpu(request["limit"])
    return check_process.judge(source, request["exercise"], request["check"], message)


def end_after(work: Callable[[], None]) -> NoReturn:
    """Do what a forked process is for, and end it, whatever happens meanwhile."""
    exit_code = 70
    try:
        work()
        exit_code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:  # a solution may have closed standard error
        os._exit(exit_code)


def end_of_process(exit_code: int) -> dict[str, Any]:
    """The answer about a process that ended without a verdict."""
    if exit_code == -signal.SIGXCPU:
        return {"ended": "took too long"}
    return {"ended": "without a verdict", "exit_code": exit_code}


def _observe(source: str, request: dict[str, Any], sender: int) -> None:
    """Run the solution in this process, and send what was observed."""
    end_with_parent()
    os.dup2(sender, _SENDER)
    os.closerange(_SENDER + 1, os.sysconf("SC_OPEN_MAX"))
    give_up_privileges()
    # Python looks at its own descriptors before it starts a process.
    protect_memory(False)
    limit_cpu(request["limit"])
    message = check_process.observe(source, request["impl"], request["exercise"], request["check"])
    sys.stdout.flush()
    sys.stderr.flush()
    content = memoryview(_LENGTH.pack(len(message)) + message)
    while content:
        content = content[os.write(_SENDER, content) :]


def _receive(receiver: int, pid: int) -> bytes | None:
    """The message of a process; None if it ends without one.

    A process that the solution has started may hold the pipe open.
    """
    received, ended = bytearray(), False
    while True:
        readable, _, _ = select.select([receiver], [], [], _LOOK)
        data = os.read(receiver, 1 << 20) if readable else b""
        received += data
        if len(received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received)
            if length > MESSAGE_LIMIT:
                return b""  # which is no message
            if len(received) >= _LENGTH.size + length:
                return bytes(received[_LENGTH.size : _LENGTH.size + length])
        if not data and (ended or readable):
            return None
        # What it has written may still be in the pipe.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
