"""``kit predict``."""

import sys
from typing import TYPE_CHECKING

import click
from rich.text import Text

from kit.cli.console import ConsoleNarrator
from kit.errors import UserError
from kit.parts.implementation import EXERCISES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.course.predictions import Question, Value
    from kit.course.results import Predictions
    from kit.course.workspace import Workspace


@click.command("predict", context_settings={"show_default": True})
@click.argument("exercise", required=False)
@click.option(
    "--answer", "answers", multiple=True, help="Answer the next question without being asked; may be repeated."
)
@click.option("--again", is_flag=True, help="Also ask the questions that you have answered.")
@click.option("--folder", default=EXERCISES, help="The folder with your exercises. Predictions are kept beside it.")
def command(exercise: str | None, answers: tuple[str, ...], again: bool, folder: str) -> None:
    """Answer the questions of EXERCISE one by one; each is then measured on this machine.

    Without EXERCISE, `kit predict` lists what you predicted and what was measured. In a pipe, each
    line of standard input is an answer.
    """
    from kit.course.predictions import questions
    from kit.course.results import ResultsFile
    from kit.course.workspace import find_workspace

    workspace = find_workspace(folder)
    known, problem = ResultsFile(workspace).read_predictions()
    narrator = ConsoleNarrator()
    if problem:
        click.echo(problem, err=True)
    if exercise is None:
        if answers:
            raise UserError("--answer: name the exercise whose questions you answer, such as `kit predict mesh`.")
        _list(narrator, known)
        return
    every = questions(exercise)
    if not every:
        raise UserError(
            f"{exercise} has no question that is measured in seconds: `kit lesson {exercise} Predict` has one to "
            "answer on paper."
        )
    asked = [one for one in every if again or one.name not in known.get(exercise, {})]
    if not asked:
        _list(narrator, {exercise: known[exercise]})
        narrator.print()
        narrator.paragraph(
            f"You have answered all questions of {exercise}: `kit predict {exercise} --again` asks them again."
        )
        return
    if len(answers) > len(asked):
        raise UserError(
            f"--answer: {exercise} has {len(asked)} questions to answer, and {len(answers)} answers were given."
        )
    # An answer that cannot be understood is reported before anything is measured.
    for one, text in zip(asked, answers, strict=False):
        one.parse(text)
    _ask_all(narrator, workspace, exercise, asked, answers)


def _ask_all(
    narrator: ConsoleNarrator,
    workspace: "Workspace",
    exercise: str,
    asked: "Sequence[Question]",
    answers: "Sequence[str]",
) -> None:
    from kit.course.measuring import Measurements
    from kit.course.prediction_record import keep

    interactive = sys.stdin.isatty()
    progress = narrator.for_progress()
    right = made = 0
    with Measurements(exercise, [one.name for one in asked]) as measurements:
        for number, one in enumerate(asked):
            narrator.print()
            narrator.print(Text(f"{exercise}, question {number + 1} of {len(asked)}", style="bold"))
            narrator.paragraph(one.asks)
            if one.choices:
                narrator.paragraph(f"Choose: {', '.join(one.choices)}.")
            if number < len(answers):
                click.echo(f"Your answer: {answers[number]}")
                answer: Value | None = one.parse(answers[number])
            elif answers and not interactive:
                answer = None
            else:
                answer = _read(one, interactive)
            if answer is None:
                break
            with progress.working("measuring"):
                measured = measurements.wait_for(one.name)
            made += 1
            right += _compare(narrator, one, answer, measured)
            if problem := keep(workspace, exercise, one, answer, measured):
                click.echo(problem, err=True)
    narrator.print()
    if left := len(asked) - made:
        narrator.paragraph(f"{left} of {len(asked)} questions have no answer yet: `kit predict {exercise}` asks them.")
    else:
        narrator.paragraph(
            f"{right} of {made} as measured. `kit lesson {exercise}` explains; `kit` shows where you are."
        )


def _read(question: "Question", interactive: bool) -> "Value | None":
    """The answer from the keyboard, which is asked for until it is one, or from a pipe."""
    while True:
        click.echo("Your answer: ", nl=False)
        line = sys.stdin.readline()
        if not interactive:
            click.echo(line.strip())
        if not line.strip():
            if interactive:
                click.echo("" if line else "\n", nl=False)
            return None
        try:
            return question.parse(line)
        except UserError as error:
            if not interactive:
                raise
            click.echo(str(error))


def _compare(narrator: ConsoleNarrator, question: "Question", answer: "Value", measured: "Value") -> bool:
    right = question.is_right(answer, measured)
    compared = "As you predicted." if right else f"You predicted {question.show(answer)}."
    narrator.paragraph(f"Measured: {question.show(measured)}. {compared}", style="green" if right else "yellow")
    narrator.paragraph(question.explain(answer, measured))
    return right


def _list(narrator: ConsoleNarrator, known: "Predictions") -> None:
    """Print what was predicted and measured."""
    from kit.course.prediction_record import rows

    found = rows(known)
    if not found:
        narrator.paragraph("Nothing is predicted yet: `kit predict mesh` asks the first questions.")
        return
    narrator.table(
        ("exercise", "question", "predicted", "measured", ""),
        [(row.exercise, row.name, row.predicted, row.measured, "" if row.right else "differs") for row in found],
    )
