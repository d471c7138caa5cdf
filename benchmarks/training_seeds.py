"""The margins of the training checks over five seeds of their texts, for all right solutions.

Each check runs as for a learner, with other texts. Prints a Markdown table.

Usage: python benchmarks/training_seeds.py [SEEDS]
"""

import os
import sys
import tempfile
from pathlib import Path

from kit.course.catalogue import catalogue
from kit.dev.solutions import read_solutions
from kit.judge.runner import Job, Runner, Verdict
from kit.parts.implementation import REFERENCE
from kit.parts.protocols import PARTS

LAYER = "train"
SOLUTIONS_FOLDER = Path(__file__).parents[1] / "tests" / "solutions"


def main() -> None:
    """Run all training checks of all right solutions under each seed."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    checks = [check for exercise in PARTS for check in catalogue().checks_of(exercise) if check.layer == LAYER]
    results: dict[tuple[str, str], list[Verdict]] = {}
    for seed in range(seeds):
        # The processes of the checks inherit this variable.
        os.environ["KIT_CHECK_SEED"] = str(seed)
        with tempfile.TemporaryDirectory() as folder, Runner(catalogue()) as runner:

            def job(name: str, exercise: str) -> Job:
                for check in checks:
                    if check.exercise == exercise:
                        verdict = yield check
                        results.setdefault((f"{exercise}: {name}", check.name), []).append(verdict)

            jobs = [(REFERENCE, job("reference", exercise)) for exercise in dict.fromkeys(c.exercise for c in checks)]
            for solution in read_solutions(SOLUTIONS_FOLDER):
                if solution.passes and any(check.exercise == solution.exercise for check in checks):
                    place = solution.write(Path(folder) / f"{solution.exercise}-{solution.name}")
                    jobs.append((str(place), job(solution.name, solution.exercise)))
            runner.run_jobs(jobs, at_once=2)
    print(f"| solution | check | passed, of {seeds} | measured |")
    print("|---|---|---|---|")
    for (name, check), verdicts in results.items():
        passed = sum(verdict.passed for verdict in verdicts)
        measured: dict[str, list[float]] = {}
        for verdict in verdicts:
            for what, value in verdict.measured.items():
                measured.setdefault(what, []).append(value)
        shown = "; ".join(f"{what} {min(values):.2g} to {max(values):.2g}" for what, values in measured.items())
        print(f"| {name} | {check} | {passed} | {shown} |")
    if not all(verdict.passed for verdicts in results.values() for verdict in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
