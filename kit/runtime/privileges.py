"""What a process may do to others, and others to it, as Linux' prctl(2) sets it.

Elsewhere these functions do nothing.
"""

import ctypes
import signal
import sys

#: Options of prctl(2).
_PDEATHSIG, _DUMPABLE, _CAPBSET_DROP, _CHILD_SUBREAPER = 1, 4, 24, 36
_CAPABILITY_VERSION, _CAPABILITIES = 0x20080522, 64


def protect_memory(protected: bool = True) -> None:
    """Let no other process of this user read or write this one's memory and descriptors."""
    _prctl(_DUMPABLE, int(not protected))


def inherit_orphans() -> None:
    """Become the parent of processes whose parent ends, to know when they have ended."""
    _prctl(_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have Linux end this process if the parent is killed; elsewhere it would run on."""
    _prctl(_PDEATHSIG, signal.SIGKILL)


def give_up_privileges() -> None:
    """Keep what an ordinary user may do, in this process and in those that it starts."""
    for capability in range(_CAPABILITIES):
        _prctl(_CAPBSET_DROP, capability)
    if sys.platform == "linux":
        header, none = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
        ctypes.CDLL(None).capset(header, none)


def _prctl(option: int, argument: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)
