"""Ctrl-C in a run: at once, or at the end of a training step, so that no step is lost.

Python raises KeyboardInterrupt in whatever the main thread executes next. While a model trains, it
mostly waits for the device where Keras reads a step's loss, within an ``except:`` that discards all
exceptions (``pythonify_logs`` in 3.15.1): of 12 interrupts 11 had no effect. And while the main
thread is in XLA, for example to compile, Python raises nothing. So a thread of its own learns of
the signal. In the callback of a weak reference or in ``__del__``, Python reports the exception and
discards it: it is raised again a moment later.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

#: Exit status of a process that Ctrl-C has stopped.
STOPPED = 130
#: Seconds until the process ends itself, if KeyboardInterrupt has had no effect.
PATIENCE = 5.0
#: Seconds until a KeyboardInterrupt that Python has discarded is raised again.
AGAIN = 0.05


class RunStopped(KeyboardInterrupt):  # it is no error
    """Ctrl-C at the end of a step, after which all processes of the run stop."""


class Interrupts:
    """What becomes of Ctrl-C; :data:`INTERRUPTS` is the one of this process."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._is_handled = False
        self._count = 0
        # Signals that were not a key pressed by the user.
        self._repeated = 0
        # The main thread may know it before the thread that counts.
        self._received = False
        self._deferred = False
        self._caught = threading.Event()
        #: Called when the end of the step is asked for, to ask other processes too.
        self.ask_others: Callable[[], None] = lambda: None
        #: Called before the process ends at once.
        self.clean_up: Callable[[], None] = lambda: None

    @property
    def requested(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._count > 0 or self._received

    def request(self) -> None:
        """Stop at the end of a step, or at once if that was already asked for."""
        if not self._is_handled:  # the context has ended since
            return
        self._count += 1
        if self._deferred and self._count == 1:
            _say("Ctrl-C: the run stops after this step, with a checkpoint; press it again to stop at once.")
            self.ask_others()
        elif self._count > 1 or not self._caught.wait(PATIENCE):
            self._end_at_once()

    def request_of_another_process(self) -> None:
        """Another process was asked to stop."""
        self._count = max(1, self._count)

    def _end_at_once(self) -> None:
        with contextlib.suppress(Exception):
            self.clean_up()
        _say("stopped.")
        os._exit(STOPPED)

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Within this context, Ctrl-C raises KeyboardInterrupt or, if deferred, does not."""
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts `kit run &`
            yield
            return
        self._is_handled = True
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        previous = signal.signal(signal.SIGINT, self._raise_unless_deferred)
        previous_descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        previous_hook = sys.unraisablehook
        sys.unraisablehook = functools.partial(self._raise_again, previous_hook)
        threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        try:
            yield
        except Exception as error:
            # A library may have made another exception of it.
            if self.requested and not self._deferred:
                raise KeyboardInterrupt from error
            raise
        finally:
            self._caught.set()
            sys.unraisablehook = previous_hook
            signal.set_wakeup_fd(previous_descriptor)
            signal.signal(signal.SIGINT, previous)
            os.close(writing)
            self._reset()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within this context Ctrl-C only sets :attr:`requested`; whoever trains asks for it."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _raise_unless_deferred(self, number: int, frame: FrameType | None) -> Any:
        self._received = True
        if not self._deferred:
            raise KeyboardInterrupt

    def _raise_again(self, report: Callable[[Any], Any], discarded: Any) -> None:
        if not issubclass(discarded.exc_type, KeyboardInterrupt):
            report(discarded)
            return

        main_thread = threading.get_ident()

        def interrupt() -> None:
            if self._is_handled:
                self._repeated += 1
                # A real signal, which also ends a wait in C.
                signal.pthread_kill(main_thread, signal.SIGINT)

        threading.Timer(AGAIN, interrupt).start()

    def _watch(self, reading: int) -> None:
        with open(reading, "rb", buffering=0) as received:
            while numbers := received.read(1):
                if self._repeated:
                    self._repeated -= 1
                elif numbers[0] == signal.SIGINT:
                    # A second Ctrl-C must not wait for the first.
                    threading.Thread(target=self.request, daemon=True).start()


def _say(sentence: str) -> None:
    # On a terminal, the cursor is behind "^C" or a progress bar.
    newline = "\n" if sys.stderr.isatty() else ""
    print(f"{newline}kit: {sentence}", file=sys.stderr, flush=True)


INTERRUPTS = Interrupts()
