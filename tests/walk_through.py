"""Walks through exercises as a learner does: from the stub over typical mistakes to the solution, panel by panel.

Each step edits what the panel before it names, and makes the next mistake. Shown are the edit, in one line, the code that it
changes, and the panel that comes of it. Fails if another code comes first than the step expects, or if the panel does not
say what the next edit acts on. The steps are in tests/walk, one file an exercise.

Usage: python tests/walk_through.py [EXERCISE ...]
"""

import argparse
import os
import re
import sys
import tempfile
import textwrap
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kit.judge.catalogue import checks_of
from kit.judge.runner import Job, Runner, Verdict
from kit.dev.proof import PASSES
from kit.course.regions import STUBS_FOLDER
from kit.parts.implementation import EXERCISE_FUNCTIONS

STEPS_FOLDER = Path(__file__).parent / "walk"
#: Walks at the same time. A check mostly keeps one core busy.
AT_ONCE = min(2, os.cpu_count() or 1)


@dataclass(frozen=True)
class Step:
    """One edit of the learner's file, and what must come of it."""

    #: What is edited, in one line.
    edit: str
    #: The code of the first check that fails; PASSES if none does.
    code: str
    #: What the panel says, which the next edit acts on.
    says: str = ""
    #: Task -> the code that takes its place from now on.
    tasks: dict[str, str] = field(default_factory=dict)


@dataclass
class Walk:
    """What came of the steps of one exercise."""

    exercise: str
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def tell(self, text: str = "", indent: str = "") -> None:
        """Keep text to be shown when the walk is over, so that those of two exercises do not mix."""
        self.lines.append(textwrap.indent(text, indent))


def steps_of(exercise: str) -> list[Step]:
    """The steps of an exercise, the stub first and the solution last."""
    content = tomllib.loads((STEPS_FOLDER / f"{exercise}.toml").read_text(encoding="utf-8"))
    steps = [Step(**step) for step in content["step"]]
    assert len(steps) > 3, f"{exercise}: a walk has a stub, mistakes and a solution"
    assert not steps[0].tasks, f"{exercise}: a walk begins at the stub"
    assert [step.code == PASSES for step in steps] == [False] * (len(steps) - 1) + [True], f"{exercise}: what passes"
    assert all(step.says for step in steps[:-1]), f"{exercise}: a step does not say what its panel names"
    return steps


def written(exercise: str, tasks: dict[str, str]) -> str:
    """The stub, with code in the place of these tasks."""
    text = (STUBS_FOLDER / f"{exercise}.py").read_text(encoding="utf-8")
    for task, code in tasks.items():
        gap = re.compile(rf'^( *)raise NotImplementedError\("{exercise}, task {task}"\)\n', re.MULTILINE)
        found = gap.findall(text)
        assert len(found) == 1, f"{exercise}: the stub has {len(found)} gaps for task {task}"
        text = gap.sub(lambda match, code=code: textwrap.indent(code.lstrip("\n"), match[1]), text)
    return text


def walk_through(walk: Walk, folder: Path, runner: Runner) -> Job:
    """Take one step after the other: edit the file, and ask the checks, cheap ones first, until one fails."""
    checks = [check for check in checks_of(walk.exercise) if check.layer not in ("tpu_compile", "tpu")]
    tasks: dict[str, str] = {}
    started = time.perf_counter()
    for number, step in enumerate(steps_of(walk.exercise)):
        tasks |= step.tasks
        (folder / f"{walk.exercise}.py").write_text(written(walk.exercise, tasks), encoding="utf-8")
        runner.forget(str(folder))
        walk.tell(f"{walk.exercise} {number}: {step.edit}")
        for code in step.tasks.values():
            walk.tell(code.strip("\n"), "  | ")
        verdict: Verdict | None = None
        for check in checks:
            verdict = yield check
            if not verdict.passed:
                break
        judge(walk, number, step, verdict, len(checks))
    walk.seconds = time.perf_counter() - started


def judge(walk: Walk, number: int, step: Step, verdict: Verdict | None, checks: int) -> None:
    """Show the last verdict of a step, and hold it against what the step expects."""
    assert verdict is not None, f"{walk.exercise} has no checks"
    diagnosis = verdict.diagnosis
    panel = diagnosis.panel(walk.exercise) if diagnosis else f"All {checks} checks pass."
    walk.tell(panel + "\n", "    ")
    code = diagnosis.code if diagnosis else PASSES
    if code != step.code:
        walk.problems.append(f"{walk.exercise} {number}: {step.code} was expected, and {code} came")
    # A panel is broken into lines.
    elif step.says not in " ".join(panel.split()):
        walk.problems.append(f"{walk.exercise} {number}: the panel does not say {step.says!r}")


def main() -> int:
    """Walk through the exercises asked for, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "exercises", nargs="*", metavar="EXERCISE", help=f"of {', '.join(EXERCISE_FUNCTIONS)}; all by default"
    )
    exercises = list(dict.fromkeys(parser.parse_args().exercises)) or list(EXERCISE_FUNCTIONS)
    if unknown := sorted(set(exercises) - set(EXERCISE_FUNCTIONS)):
        parser.error(f"there is no exercise {unknown[0]}")
    # A file that is edited twice within a second must be read anew.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    walks = [Walk(exercise) for exercise in exercises]
    with tempfile.TemporaryDirectory(prefix="kit-walk-") as scratch, Runner() as runner:

        def jobs() -> Iterator[tuple[str, Job]]:
            # The longest first, so that none is left over at the end.
            for walk in sorted(walks, key=lambda walk: list(EXERCISE_FUNCTIONS).index(walk.exercise), reverse=True):
                folder = Path(scratch, walk.exercise)
                folder.mkdir()
                yield str(folder), walk_through(walk, folder, runner)

        runner.run_jobs(jobs(), AT_ONCE)
    for walk in walks:
        print("\n".join(walk.lines))
    for walk in walks:
        print(f"{walk.exercise}: {len(walk.problems) or 'no'} problems, {walk.seconds:.0f} s")
    problems = [problem for walk in walks for problem in walk.problems]
    print("\n".join(problems) or "Each panel led to the next edit.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
