"""The page of `kit check`: verdicts and diagnostics, as a notebook shows them. No framework."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from kit.checks.diagnosis import Diagnosis
from kit.course.lessons import section
from kit.judge.runner import Verdict
from kit.report.page import render_page, write_page


@dataclass(frozen=True)
class Shown:
    """A diagnostic, once for all checks that give it."""

    diagnosis: Diagnosis
    #: What the learner's code printed.
    printed: str
    #: The command that shows the explanation, and the explanation itself; both may be empty.
    lesson: str
    explanation: Markup


def write_check_page(file: Path, verdicts: Sequence[Verdict], next_lines: Sequence[str]) -> None:
    """Write the verdicts of checks, their diagnostics and what to do next.

    Raises UserError if the page cannot be written; then an earlier page is unchanged.
    """
    write_page(file, render(verdicts, next_lines))


def render(verdicts: Sequence[Verdict], next_lines: Sequence[str]) -> str:
    """The page as a text."""
    exercises = tuple(dict.fromkeys(verdict.check.exercise for verdict in verdicts))
    states = ["passed" if verdict.passed else "to do" if verdict.is_open else "failed" for verdict in verdicts]
    diagnostics: dict[tuple[str, Diagnosis], Shown] = {}
    for verdict in verdicts:
        if verdict.diagnosis is not None and not verdict.is_open:
            diagnostics.setdefault((verdict.check.exercise, verdict.diagnosis), _shown(verdict, verdict.diagnosis))
    return render_page(
        "check_page.html",
        {"sentence": _with_code},
        title=", ".join(exercises),
        verdicts=tuple(zip(states, verdicts, strict=True)),
        counts=", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)),
        diagnostics=tuple(diagnostics.values()),
        not_written=next((verdict.diagnosis for verdict in verdicts if verdict.is_open), None),
        next_lines=next_lines,
    )


def _shown(verdict: Verdict, diagnosis: Diagnosis) -> Shown:
    lesson = diagnosis.lesson(verdict.check.exercise)
    name, _, heading = diagnosis.anchor.partition("#")
    text = section(name, heading) if name and heading else ""
    # The heading is that of the frame around it.
    explanation = MarkdownIt("commonmark", {"html": False}).enable("table").render(text.partition("\n")[2])
    return Shown(diagnosis, verdict.output.strip(), lesson, Markup(explanation))


def _with_code(text: str) -> Markup:
    """A sentence with what is between backticks as code."""
    parts = text.split("`")
    marked = [Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)]
    return Markup("").join(marked) if len(parts) % 2 else Markup("{}").format(text)
