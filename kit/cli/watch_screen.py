"""The screen of ``kit watch`` on a terminal: one exercise, its verdict, and keys."""

import contextlib

from rich.text import Text

from kit.cli.console import ConsoleNarrator
from kit.cli.keyboard import Keyboard
from kit.cli.watch import left_out, show_prices
from kit.course.watched import Outcome, Watched
from kit.judge.runner import Runner, Stopped

KEYS = {
    "h": "hint",
    "l": "lesson",
    "n": "next",
    "p": "previous",
    "r": "run again",
    "x": "list",
    "q": "quit",
}
#: These stop a running check; the others wait for its end.
_STOPPING = "nprq"


class WatchScreen:
    """Shows one exercise at a time: that which was saved last, or which the keys have chosen."""

    def __init__(self, runner: Runner, watched: Watched, narrator: ConsoleNarrator, impl: str) -> None:
        """Begin with the first exercise."""
        self._runner = runner
        self._watched = watched
        self._narrator = narrator
        self._impl = impl
        self._keyboard = Keyboard("".join(KEYS))
        self._exercise = watched.exercises[0]
        #: The last outcome of each exercise that has been checked.
        self._outcomes: dict[str, Outcome] = {}

    def show(self) -> None:
        """Check and show, until the user quits."""
        self._runner.stop_now = lambda: bool(self._watched.saved()) or self._keyboard.has(_STOPPING)
        self._runner.warm_up([self._exercise])
        with self._keyboard.heeded():
            # First the exercises in their order, up to the first that is not solved.
            while (outcome := self._check()) is not None and outcome.failed is None and self._advance(1):
                pass
            key = ""
            while key != "q":
                if saved := self._watched.take_saved():
                    self._exercise = saved[0]
                    self._check()
                key = self._keyboard.take(timeout=0.05)
                if key and key != "q":
                    self._act(key)

    def _act(self, key: str) -> None:
        if key in "np":
            self._advance(1 if key == "n" else -1)
        if key in "npr":
            self._check()
        elif key == "h":
            self._run_command("hint", self._exercise)
        elif key == "l":
            self._run_command("lesson", self._exercise)
        elif key == "x":
            self._list()

    def _advance(self, by: int) -> bool:
        """Choose the next or the previous exercise; False if there is none."""
        names = self._watched.exercises
        place = names.index(self._exercise) + by
        if not 0 <= place < len(names):
            return False
        self._exercise = names[place]
        return True

    def _check(self) -> Outcome | None:
        """Check the exercise and show the outcome; None if a new file or a key stopped it."""
        exercise = self._exercise
        self._clear()
        try:
            with self._narrator.working(f"checking… {exercise}") as work:
                outcome = self._watched.check(exercise, lambda done, total, check: work.count(done, total))
        except Stopped:
            self._watched.stop()
            return None
        self._outcomes[exercise] = outcome
        self._clear()
        self._show(outcome)
        self._show_keys()
        with contextlib.suppress(Stopped):
            show_prices(self._watched, outcome, self._narrator)
        return outcome

    def _clear(self) -> None:
        """Clear the screen, and print the title."""
        names = self._watched.exercises
        passed = sum(outcome.failed is None for outcome in self._outcomes.values())
        self._narrator.console.clear()
        place = f"exercise {names.index(self._exercise) + 1} of {len(names)}"
        self._narrator.print(Text(f"kit watch   {self._exercise}   {place}   {passed} of {len(names)} passed", "bold"))
        self._narrator.print()

    def _show(self, outcome: Outcome) -> None:
        failed = outcome.failed
        style = "green" if failed is None else ""
        self._narrator.paragraph(outcome.as_line(), style=style)
        if failed is not None and failed.diagnosis is not None:
            self._narrator.print(Text("\n" + failed.diagnosis.for_terminal(outcome.exercise)), soft_wrap=True)
            return
        if outcome.left_out:
            self._narrator.paragraph(left_out(outcome))
        for line in outcome.afterwards:
            self._narrator.paragraph(line)
        place = self._watched.exercises.index(outcome.exercise) + 1
        if place < len(self._watched.exercises):
            self._narrator.paragraph(f"Press n for the next exercise, {self._watched.exercises[place]}.")

    def _show_keys(self) -> None:
        self._narrator.print()
        self._narrator.print(Text("  ".join(f"{key} {what}" for key, what in KEYS.items()), style="dim"))

    def _list(self) -> None:
        self._clear()
        for name in self._watched.exercises:
            outcome = self._outcomes.get(name)
            state = "not checked yet" if outcome is None else outcome.as_line().partition(": ")[2]
            self._narrator.paragraph(f"{name:<12}{state}", indent=" " * 12)
        self._show_keys()

    def _run_command(self, name: str, exercise: str) -> None:
        """Run another command of the kit on the exercise; a lesson has a pager."""
        import click

        from kit.cli.main import COMMANDS, cli
        from kit.errors import UserError

        assert name in COMMANDS
        self._clear()
        try:
            with self._keyboard.released():
                cli.main([name, exercise, "--folder", self._impl], standalone_mode=False)
        except (UserError, click.ClickException) as error:
            self._narrator.paragraph(str(error))
        self._show_keys()
