"""``kit solution``."""

import click

from kit.errors import UserError
from kit.parts.implementation import EXERCISES


@click.command("solution", context_settings={"show_default": True})
@click.argument("exercise", required=False)
@click.option("--give-up", is_flag=True, help="Show it without checking yours first.")
@click.option("--folder", default=EXERCISES, help="The folder with your exercises.")
def command(exercise: str | None, give_up: bool, folder: str) -> None:
    """Show how the kit solves EXERCISE, once yours passes all of its checks."""
    from kit.course.catalogue import catalogue
    from kit.course.lessons import solution

    name = catalogue().find(exercise).name
    text = solution(name)
    if not give_up:
        _require_passed(name, folder)
    click.echo(text, nl=False)


def _require_passed(exercise: str, folder: str) -> None:
    from kit.course.catalogue import catalogue
    from kit.judge.catalogue import available
    from kit.judge.runner import Runner
    from kit.course.workspace import find_workspace

    checks = available(catalogue().checks_of(exercise))
    if not checks:
        raise UserError(f"There is no check of {exercise} yet: `kit solution {exercise} --give-up` shows the solution.")
    # What the runner takes is the folder, as `pytest --impl` does.
    workspace = find_workspace(folder)
    impl = folder if folder == EXERCISES else str(workspace.folder)
    with Runner(catalogue()) as runner:
        for check in checks:
            diagnosis = runner.run(impl, check).diagnosis
            # Standard output has the solution alone, so that it can be written to a file.
            click.echo(f"{'passed' if diagnosis is None else 'FAILED'}  {check.asks}", err=True)
            if diagnosis is not None:
                tests = f"pytest tests/exercises/test_{exercise}.py" + (
                    "" if folder == EXERCISES else f" --impl={folder}"
                )
                raise UserError(
                    f"{exercise} does not pass yet ({diagnosis.code}; `{tests}` says more): "
                    f"`kit solution {exercise} --give-up` shows the solution anyway."
                )
