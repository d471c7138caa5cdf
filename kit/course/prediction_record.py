"""What a learner predicted, and what was measured: kept and listed. Imports no framework."""

from dataclasses import dataclass
from datetime import UTC, datetime

from kit import __version__
from kit.course.catalogue import catalogue
from kit.course.predictions import Question, Value, question
from kit.course.results import Prediction, Predictions, ResultsFile
from kit.course.workspace import Workspace


@dataclass(frozen=True)
class PredictionRow:
    """A prediction as a person reads it."""

    exercise: str
    name: str
    predicted: str
    measured: str
    right: bool
    #: The question, and what it explains; empty if this version of the kit has no such question.
    asks: str
    explains: str


def keep(workspace: Workspace, exercise: str, asked: Question, answer: Value, measured: Value) -> str:
    """Keep a prediction; returns a sentence if it cannot be, or if the file was moved aside."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    prediction = Prediction(answer, measured, asked.is_right(answer, measured), when, __version__)
    results_file = ResultsFile(workspace)
    try:
        return results_file.write_predictions({exercise: {asked.name: prediction}})
    except OSError as error:
        return f"The prediction was not kept: {results_file.cannot_be_written(error)}."


def rows(predictions: Predictions) -> list[PredictionRow]:
    """The predictions in the order of the course."""
    found = []
    for exercise in catalogue().names:
        for name, one in predictions.get(exercise, {}).items():
            asked = question(exercise, name)
            show = asked.show if asked else str
            found.append(
                PredictionRow(
                    exercise,
                    name.replace("_", " "),
                    show(one.answer),
                    show(one.measured),
                    one.right,
                    asked.asks if asked else "",
                    asked.explain(one.answer, one.measured) if asked else "",
                )
            )
    return found
