"""``kit watch``."""

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kit.cli.console import ConsoleNarrator
    from kit.course.watched import Outcome, Watched
    from kit.judge.runner import Runner


@click.command("watch")
@click.argument("exercises", nargs=-1)
@click.option("--impl", default="exercises", show_default=True, help="exercises, or a folder with the same modules.")
@click.option(
    "--plain", is_flag=True, help="Print lines and take no keys, for a screen reader. The default without a terminal."
)
@click.option("--once", is_flag=True, hidden=True, help="Check once and stop.")
def command(exercises: tuple[str, ...], impl: str, plain: bool, once: bool) -> None:
    """Check EXERCISES, by default all, whenever you save one.

    The libraries are imported once, so that results appear about a second after you save. Checks
    run in the order of the course, up to the first that fails. A new save stops a running check.
    """
    from kit.course.catalogue import catalogue
    from kit.parts.implementation import find_parts

    names = tuple(catalogue().find(name).name for name in exercises) or catalogue().names
    find_parts(impl)
    from kit.cli.console import ConsoleNarrator
    from kit.cli.terminal import can_redraw

    keys = not (plain or once) and sys.stdin.isatty() and can_redraw(sys.stdout)
    narrator = ConsoleNarrator(plain=not keys)
    if not keys:
        click.echo(f"Checking {', '.join(names)}.")
    with narrator.working("starting"):
        from kit.course.watched import Watched
        from kit.judge.runner import Runner

    with Runner(catalogue()) as runner:
        watched = Watched(runner, impl, names)
        if keys:
            from kit.cli.watch_screen import WatchScreen

            WatchScreen(runner, watched, narrator, impl).show()
        else:
            _print_lines(runner, watched, narrator, once)


def _print_lines(runner: "Runner", watched: "Watched", narrator: "ConsoleNarrator", once: bool) -> None:
    from kit.judge.runner import Stopped

    if not once:
        runner.stop_now = lambda: bool(watched.saved())
    waiting = list(watched.exercises)
    announced = False
    while True:
        while waiting:
            exercise = waiting.pop(0)
            try:
                with narrator.working(f"checking {exercise}") as work:
                    outcome = watched.check(exercise, lambda done, total, check: work.count(done, total))
                _print(outcome, narrator)
                show_prices(watched, outcome, narrator)
                click.echo()
            except Stopped:
                watched.stop()
                click.echo(f"{exercise}: stopped, because a file was saved.\n")
                # The others wait; the one that was saved is checked first.
                waiting = [name for name in [exercise, *waiting] if name not in watched.saved()]
            waiting = watched.take_saved() + waiting
        if once:
            return
        if not announced:
            click.echo("Save a file to check it. Stop with Ctrl-C.")
            announced = True
        time.sleep(0.05)
        waiting = watched.take_saved()


def _print(outcome: "Outcome", narrator: "ConsoleNarrator") -> None:
    failed = outcome.failed
    if failed is not None and failed.diagnosis is not None:
        click.echo(outcome.as_line())
        click.echo(failed.diagnosis.for_terminal(outcome.exercise))
        return
    narrator.paragraph(outcome.as_line(), style="green")
    if outcome.left_out:
        click.echo(left_out(outcome))
    for line in outcome.afterwards:
        click.echo(line)


def show_prices(watched: "Watched", outcome: "Outcome", narrator: "ConsoleNarrator") -> None:
    """Print what the exercise costs, line by line; raises Stopped like a check."""
    prices = watched.prices(outcome)
    while True:
        with narrator.working("measuring what it costs"):
            line = next(prices, None)
        if line is None:
            return
        narrator.paragraph(line, style="cyan")


def left_out(outcome: "Outcome") -> str:
    """What was not checked, and the command that checks it."""
    command = f"`pytest tests/exercises/test_{outcome.exercise}.py -m tpu_compile`"
    return f"Not checked here: {outcome.left_out} of the layer tpu_compile. {command} checks them."
