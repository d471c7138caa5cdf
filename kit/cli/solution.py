"""``kit solution``."""

import contextlib
import sys

import click

from kit.errors import UserError
from kit.parts.implementation import EXERCISES


@click.command("solution", context_settings={"show_default": True})
@click.argument("exercise", required=False)
@click.option("--give-up", is_flag=True, help="Show it without checking your code.")
@click.option("--folder", default=EXERCISES, help="The folder with your exercises.")
def command(exercise: str | None, give_up: bool, folder: str) -> None:
    """Show the kit's solution of EXERCISE, if yours passes all checks."""
    from kit.course.catalogue import catalogue
    from kit.course.lessons import solution

    name = catalogue().find(exercise).name
    text = solution(name)
    if not give_up:
        _require_passed(name, folder)
    click.echo(text, nl=False)


def _require_passed(exercise: str, folder: str) -> None:
    from kit.cli.console import ConsoleNarrator, print_line
    from kit.course.board import CheckRun, option
    from kit.course.catalogue import catalogue
    from kit.course.results import ResultsFile, current, module_hash
    from kit.course.workspace import find_workspace
    from kit.judge.catalogue import available, not_checked
    from kit.judge.runner import Runner

    checks = available(catalogue().checks_of(exercise))
    if left_out := not_checked(catalogue().checks_of(exercise)):
        click.echo(left_out, err=True)
    if not checks:
        raise UserError(
            f"{exercise} has no checks on this machine: `kit solution {exercise} --give-up` shows the solution."
        )
    # The runner takes the folder, as `pytest --impl` does.
    workspace = find_workspace(folder)
    impl = folder if folder == EXERCISES else str(workspace.folder)
    results, _ = ResultsFile(workspace).read()
    module = module_hash(workspace.folder, exercise)
    check_run = CheckRun(impl, [exercise])
    working = ConsoleNarrator(sys.stderr).working("checking yours")
    with working as work, Runner(catalogue()) as runner, contextlib.closing(check_run):
        for number, check in enumerate(checks):
            work.count(number, len(checks), check.asks)
            kept = current(results, check, module)
            code = ""
            if kept is None or not kept.passed:
                verdict = runner.run(impl, check)
                check_run.add(verdict)
                code = verdict.diagnosis.code if verdict.diagnosis else ""
            # Standard output has only the solution, so that it can be redirected to a file.
            print_line(f"{'FAILED' if code else 'passed'}  {check.asks}", sys.stderr)
            if code:
                again = f"kit check {exercise}{option(folder)}"
                raise UserError(
                    f"{exercise} does not pass yet ({code}; run `{again}` for details): "
                    f"`kit solution {exercise} --give-up` shows the solution anyway."
                )
