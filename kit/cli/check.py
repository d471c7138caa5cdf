"""``kit check``."""

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from kit.cli.console import ConsoleNarrator, wrap
from kit.parts.implementation import EXERCISES

if TYPE_CHECKING:
    from kit.course.checking import Answer
    from kit.judge.catalogue import Check
    from kit.judge.runner import Verdict


@click.command("check", context_settings={"show_default": True})
@click.argument("exercise", required=False)
@click.option("--layer", "layers", multiple=True, help="Only the checks of this layer; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="All exercises, unless you name one, and all diagnostics.")
@click.option("--impl", default=EXERCISES, help="exercises, or a folder with the same modules.")
@click.option("--platform", default="auto", help="auto, cpu (8 simulated devices), gpu or tpu, as in pytest.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Also write a page, which a notebook can show.")
def command(
    exercise: str | None, layers: tuple[str, ...], everything: bool, impl: str, platform: str, page: Path | None
) -> None:
    """Check EXERCISE, and stop at the first diagnostic.

    The checks are those of pytest. Without EXERCISE, `kit check` takes those that you have begun
    and that have not passed, in the order of the course. The exit code is 1 if a check fails.
    """
    from kit.course.board import CheckRun
    from kit.course.catalogue import catalogue
    from kit.course.checking import answers, checks_to_run, what_to_do
    from kit.judge.catalogue import not_checked
    from kit.judge.runner import Runner
    from kit.runtime.platform import choose_platform_of_checks

    chosen_platform = choose_platform_of_checks(platform)
    checks = checks_to_run(exercise, layers, everything, impl, chosen_platform)
    check_run = CheckRun(impl, list(checks))
    narrator = ConsoleNarrator()
    screen = _Screen(narrator, one_exercise=len(checks) == 1)
    # In a pipe, standard output has only the verdicts.
    progress = narrator.for_progress()
    with Runner(catalogue(), chosen_platform) as runner, progress.working("checking") as work:

        def begins(check: "Check", number: int, of: int) -> None:
            work.what = f"checking {check.exercise}"
            work.count(number - 1, of)

        for answer in answers(runner, checks, impl, check_run, begins, everything):
            screen.add(answer)
    check_run.close()
    if check_run.problem:
        click.echo(check_run.problem, err=True)
    if screen.failed:
        # What is wrong comes before what is not written yet.
        lines = [what_to_do(min(screen.failed, key=lambda verdict: verdict.is_open), impl)]
    else:
        narrator.print()
        every = [
            check for name in checks for check in catalogue().checks_of(name) if not layers or check.layer in layers
        ]
        lines = [line for line in (not_checked(every), *check_run.closing_lines(list(checks))) if line]
    for line in lines:
        narrator.paragraph(line)
    if page is not None:
        from kit.report.check_page import write_check_page

        write_check_page(page, screen.verdicts, lines)
    sys.exit(1 if screen.failed else 0)


class _Screen:
    """Prints verdicts as they come: a line for each check of one exercise, or for each exercise."""

    def __init__(self, narrator: ConsoleNarrator, one_exercise: bool) -> None:
        """Print above the line about what is being done."""
        self.verdicts: list[Verdict] = []
        self.failed: list[Verdict] = []
        self._narrator = narrator
        self._one_exercise = one_exercise
        self._passed = self._open = 0

    def add(self, answer: "Answer") -> None:
        """Print a verdict."""
        verdict = answer.verdict
        self.verdicts.append(verdict)
        if answer.number == 1:
            self._passed = self._open = 0
        self._passed += verdict.passed
        self._open += verdict.is_open
        if self._one_exercise or not (verdict.passed or verdict.is_open):
            self._line(verdict)
        if not verdict.passed:
            self.failed.append(verdict)
            if not answer.is_repeated and not verdict.is_open:
                self._narrator.print(Text(f"\n{verdict.for_terminal()}\n"), soft_wrap=True)
        if answer.number == answer.checks and not self._one_exercise:
            to_do = f", {self._open} to do" if self._open else ""
            self._narrator.print(f"{verdict.check.exercise}: {self._passed} of {answer.checks} checks passed{to_do}")

    def _line(self, verdict: "Verdict") -> None:
        state, style = ("FAILED", "red")
        if verdict.passed or verdict.is_open:
            state, style = ("passed", "green") if verdict.passed else ("to do ", "yellow")
        exercise = "" if self._one_exercise else f"{verdict.check.exercise}: "
        asks = f"{exercise}{verdict.check.asks}"
        if sys.stdout.isatty():
            # The condition that is not met is shown in full; of the others the beginning will do.
            width = self._narrator.console.width - len(state) - 2
            is_short = verdict.passed or verdict.is_open
            lines = [textwrap.shorten(asks, width, placeholder=" …")] if is_short else wrap(asks, width)
            asks = f"\n{' ' * (len(state) + 2)}".join(lines)
        self._narrator.print(Text.assemble((state, style), "  ", asks), soft_wrap=True)
