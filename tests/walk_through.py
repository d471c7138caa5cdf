"""Walks through exercises as a learner does: from the stub over typical mistakes to the solution.

Each step edits what the diagnostic before it names, and makes the next mistake. The output shows
each edit in one line, the code that it changes, and the diagnostic that follows. A walk fails if
another code than the expected one comes first, or if the diagnostic does not contain the text that
the next edit acts on. The steps are in tests/walk, one file per exercise.

Usage: python tests/walk_through.py [EXERCISE ...]
"""

import argparse
import os
import sys
import tempfile
import textwrap
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kit.course.catalogue import catalogue
from kit.dev.solutions import PASSES
from kit.dev.tasks import fill_tasks
from kit.judge.runner import Job, Runner, Verdict

STEPS_FOLDER = Path(__file__).parent / "walk"
#: Walks at the same time. A check mostly keeps one core busy.
AT_ONCE = min(2, os.cpu_count() or 1)


@dataclass(frozen=True)
class Step:
    """One edit of the learner's file, and the diagnostic that must follow."""

    #: What is edited, in one line.
    edit: str
    #: The code of the first check that fails; PASSES if none does.
    code: str
    #: Text of the diagnostic that the next edit acts on.
    says: str = ""
    #: Task -> the code that takes its place from now on.
    tasks: dict[str, str] = field(default_factory=dict)


@dataclass
class Walk:
    """The output and the problems of one exercise's steps."""

    exercise: str
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def print_later(self, text: str = "", indent: str = "") -> None:
        """Keep text until the walk is over, so that the output of two exercises does not mix."""
        self.lines.append(textwrap.indent(text, indent))


def steps_of(exercise: str) -> list[Step]:
    """The steps of an exercise, the stub first and the solution last."""
    content = tomllib.loads((STEPS_FOLDER / f"{exercise}.toml").read_text(encoding="utf-8"))
    steps = [Step(**step) for step in content["step"]]
    assert len(steps) > 3, f"{exercise}: a walk has a stub, mistakes and a solution"
    assert not steps[0].tasks, f"{exercise}: a walk starts at the stub"
    assert [step.code == PASSES for step in steps] == [False] * (len(steps) - 1) + [True], f"{exercise}: what passes"
    assert all(step.says for step in steps[:-1]), f"{exercise}: a step has no text that its diagnostic must contain"
    return steps


def walk_through(walk: Walk, folder: Path, runner: Runner) -> Job:
    """Take one step after the other: edit the file, and run the checks until one fails."""
    checks = [check for check in catalogue().checks_of(walk.exercise) if check.layer not in ("tpu_compile", "tpu")]
    tasks: dict[str, str] = {}
    started = time.perf_counter()
    for number, step in enumerate(steps_of(walk.exercise)):
        tasks |= step.tasks
        (folder / f"{walk.exercise}.py").write_text(fill_tasks(walk.exercise, tasks), encoding="utf-8")
        runner.forget(str(folder))
        walk.print_later(f"{walk.exercise} {number}: {step.edit}")
        for code in step.tasks.values():
            walk.print_later(code.strip("\n"), "  | ")
        verdict: Verdict | None = None
        for check in checks:
            verdict = yield check
            if not verdict.passed:
                break
        compare(walk, number, step, verdict, len(checks))
    walk.seconds = time.perf_counter() - started


def compare(walk: Walk, number: int, step: Step, verdict: Verdict | None, checks: int) -> None:
    """Show the last verdict of a step, and compare it with what the step expects."""
    assert verdict is not None, f"{walk.exercise} has no checks"
    diagnosis = verdict.diagnosis
    text = diagnosis.as_text(walk.exercise) if diagnosis else f"All {checks} checks pass."
    walk.print_later(text + "\n", "    ")
    code = diagnosis.code if diagnosis else PASSES
    if code != step.code:
        walk.problems.append(f"{walk.exercise} {number}: expected {step.code}, got {code}")
    # The text is wrapped.
    elif step.says not in " ".join(text.split()):
        walk.problems.append(f"{walk.exercise} {number}: the diagnostic does not contain {step.says!r}")


def main() -> int:
    """Walk through the given exercises, and return the exit code."""
    names = list(catalogue().names)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exercises", nargs="*", metavar="EXERCISE", help=f"any of {', '.join(names)}; all by default")
    exercises = list(dict.fromkeys(parser.parse_args().exercises)) or names
    if unknown := sorted(set(exercises) - set(names)):
        parser.error(f"there is no exercise {unknown[0]}")
    # Python must compile a file again that is edited twice within a second.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    walks = [Walk(exercise) for exercise in exercises]
    with tempfile.TemporaryDirectory(prefix="kit-walk-") as scratch, Runner(catalogue()) as runner:

        def jobs() -> Iterator[tuple[str, Job]]:
            # The longest first, so that two run at the same time to the end.
            for walk in sorted(walks, key=lambda walk: names.index(walk.exercise), reverse=True):
                folder = Path(scratch, walk.exercise)
                folder.mkdir()
                yield str(folder), walk_through(walk, folder, runner)

        runner.run_jobs(jobs(), AT_ONCE)
    for walk in walks:
        print("\n".join(walk.lines))
    for walk in walks:
        print(f"{walk.exercise}: {len(walk.problems) or 'no'} problems, {walk.seconds:.0f} s")
    problems = [problem for walk in walks for problem in walk.problems]
    print("\n".join(problems) or "Each diagnostic led to the next edit.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
