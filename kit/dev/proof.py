"""The proof that the checks are right: stubs fail, the reference passes, every wrong solution gets its diagnosis."""

import ast
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kit.course.catalogue import catalogue
from kit.judge.catalogue import WHOLE_RUN, Check, available
from kit.checks.codes import OWN_MODEL_CODES
from kit.judge.runner import Job, Runner, Verdict
from kit.course.lessons import REFERENCE_FOLDER, lesson
from kit.course.regions import cut, find_regions
from kit.errors import UserError
from kit.parts.implementation import EXERCISES, REFERENCE
from kit.parts.open_tasks import functions_in
from kit.parts.protocols import PARTS

ROOT = Path(__file__).parents[2]
CHAFFS_FOLDER = ROOT / "tests" / "chaffs"
#: Seconds of limit from which on a check is run on a wrong solution only if those before it have found nothing.
EXPENSIVE = 60
PASSES = "PASSES"
_HEAD = re.compile(r'"""(?P<codes>[A-Z][A-Z0-9_]*(?:, [A-Z0-9_]+)*)(?: in (?P<layer>[a-z_]+))?: ')
#: Shortest statement of a solution that must not stand in the learner's room.
STATEMENT_LENGTH = 20


@dataclass(frozen=True)
class Chaff:
    """A solution whose verdict is known: a wrong one, or one that is right in another way than the reference."""

    exercise: str
    name: str
    file: Path
    #: The code that it must get first, and others that further checks may give it; ("PASSES",) for a right one.
    codes: tuple[str, ...]
    #: The only layer whose checks it is put to; empty for all.
    layer: str = ""

    @property
    def passes(self) -> bool:
        """Whether it is right."""
        return self.codes == (PASSES,)


@dataclass
class Tried:
    """What the checks said of a solution."""

    name: str
    exercise: str
    expected: tuple[str, ...]
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def codes(self) -> list[str]:
        """The codes that were found, in their order, each once."""
        return list(dict.fromkeys(verdict.diagnosis.code for verdict in self.verdicts if verdict.diagnosis))

    @property
    def as_expected(self) -> bool:
        """Whether the first code is the expected one, no other than the expected came, and anything was asked at all."""
        if not self.verdicts:
            return False
        if self.expected == (PASSES,):
            return not self.codes
        return bool(self.codes) and self.codes[0] == self.expected[0] and set(self.codes) <= set(self.expected)

    @property
    def seconds(self) -> float:
        """Of all of its checks."""
        return sum(verdict.seconds for verdict in self.verdicts)


def find_chaffs(folder: Path = CHAFFS_FOLDER) -> list[Chaff]:
    """All chaffs, by exercise.

    Raises:
        UserError: if one does not begin with the code that it must get.

    """
    found = []
    for exercise in (*catalogue().names, WHOLE_RUN):
        for file in sorted((folder / exercise).rglob("*.py")):
            head = _HEAD.match(file.read_text(encoding="utf-8"))
            codes = tuple(head["codes"].split(", ")) if head else ()
            unknown = [code for code in codes if code not in (*catalogue().codes, PASSES)]
            if not codes or unknown:
                raise UserError(
                    f'{file}: its first line must be """CODE: why, with codes of kit/checks/codes.py; found {unknown}.'
                )
            found.append(
                Chaff(
                    exercise,
                    file.parent.name if exercise == WHOLE_RUN else file.stem,
                    file,
                    codes,
                    head["layer"] or "" if head else "",
                )
            )
    return found


def lay_out(chaff: Chaff, folder: Path) -> Path:
    """A folder that `--impl` takes, with the chaff in it; for a whole run, with the reference's other parts."""
    folder.mkdir(parents=True)
    if chaff.exercise == WHOLE_RUN:
        for part in PARTS:
            (folder / f"{part}.py").write_text(f"from kit.reference.{part} import *\n", encoding="utf-8")
        shutil.copy(chaff.file, folder / chaff.file.name)
    else:
        shutil.copy(chaff.file, folder / f"{chaff.exercise}.py")
    return folder


def checks_for(chaff: Chaff) -> tuple[Check, ...]:
    """The checks that a chaff is put to: those of the functions that it has itself; what it imports is proven elsewhere."""
    checks = tuple(
        check
        for check in available(catalogue().checks_of(chaff.exercise))
        if check.layer != "tpu" and chaff.layer in ("", check.layer)
    )
    try:
        written = functions_in(chaff.file.read_text(encoding="utf-8")).keys()
    except SyntaxError:
        return checks
    about_it = tuple(check for check in checks if check.function in written)
    return about_it or checks


def asks(tried: Tried, checks: Sequence[Check], stop_early: bool) -> Job:
    """Ask one check after the other, the cheap ones first."""
    for check in checks:
        if stop_early and tried.codes and check.limit >= EXPENSIVE:
            return
        verdict = yield check
        tried.verdicts.append(verdict)


def prove(
    exercises: Sequence[str], scratch: Path, at_once: int, tell: Callable[[Tried], None], whole_runs: bool = False
) -> list[Tried]:
    """Run the checks on stubs, reference and chaffs.

    Args:
        exercises: Which.
        scratch: An empty folder to work in.
        at_once: Solutions at the same time.
        tell: Is told of each when its checks are done.
        whole_runs: Also the checks of all parts together.

    """
    done: list[Tried] = []

    def job(tried: Tried, checks: Sequence[Check], stop_early: bool) -> Job:
        yield from asks(tried, checks, stop_early)
        done.append(tried)
        tell(tried)

    def jobs() -> Iterator[tuple[str, Job]]:
        stubs = scratch / "stubs"
        stubs.mkdir()
        for exercise in exercises:
            shutil.copy(catalogue().stub_file(exercise), stubs / f"{exercise}.py")
            checks = available(catalogue().checks_of(exercise))
            yield str(stubs), job(Tried("the stub", exercise, ("NOT_IMPLEMENTED",)), checks, False)
            yield REFERENCE, job(Tried("the reference", exercise, (PASSES,)), checks, False)
        for chaff in find_chaffs():
            if (chaff.exercise in exercises or (whole_runs and chaff.exercise == WHOLE_RUN)) and checks_for(chaff):
                folder = lay_out(chaff, scratch / f"{chaff.exercise}-{chaff.name}")
                checks = checks_for(chaff)
                yield str(folder), job(Tried(chaff.name, chaff.exercise, chaff.codes), checks, not chaff.passes)

    with Runner(catalogue()) as runner:
        runner.run_jobs(jobs(), at_once)
    return done


def problems_of_material() -> list[str]:
    """What is wrong with stubs, lessons, hints and chaffs, without running any of them."""
    found = []
    solutions = {
        exercise: (REFERENCE_FOLDER / f"{exercise}.py").read_text(encoding="utf-8") for exercise in catalogue().names
    }
    room = ROOT / EXERCISES
    for part, solution in solutions.items():
        stub = cut(solution, part)
        for file in (room / f"{part}.py", catalogue().stub_file(part)):
            if not file.is_file() or file.read_text(encoding="utf-8") != stub:
                found.append(f"{file.relative_to(ROOT)} is not what `kit dev build` cuts from kit/reference/{part}.py")
        if not 2 <= len(find_regions(solution)) <= 5:
            found.append(f"kit/reference/{part}.py has {len(find_regions(solution))} tasks; 2 to 5 are wanted")
    for file in sorted(room.glob("*.py")):
        text = file.read_text(encoding="utf-8")
        found += [
            f"{file.relative_to(ROOT)} has a statement of the solution of {part}: {statement}"
            for part, solution in solutions.items()
            for statement in solution_statements(solution)
            if statement in text
        ]
    chaffs = find_chaffs()
    for exercise in catalogue().exercises:
        part = exercise.name
        if len(exercise.hints) != 3 or exercise.minutes < 1:
            found.append(f"kit/course/{part}/exercise.py needs three hints and its minutes")
        try:
            lesson(part)
        except (UserError, OSError) as error:
            found.append(f"{part} has no lesson: {error}")
    for code, content in catalogue().codes.items():
        if code in OWN_MODEL_CODES:
            continue
        exercise, _, heading = content.anchor.partition("#")
        if exercise and f"\n## {heading}\n" not in lesson(exercise):
            found.append(f"{code}: the lesson {exercise} has no heading {heading!r}")
        if not any(chaff.codes[0] == code for chaff in chaffs):
            found.append(f"{code} has no chaff in tests/chaffs")
    for part in catalogue().names:
        rights = [chaff for chaff in chaffs if chaff.exercise == part and chaff.passes]
        if len(rights) < 2:
            found.append(f"tests/chaffs/{part} has {len(rights)} right-but-different solutions; at least 2 are wanted")
    return found


def solution_statements(source: str) -> set[str]:
    """The statements of a solution's regions, as written and as Python prints them, that are long enough to give it away."""
    lines = source.splitlines()
    regions = find_regions(source)
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or not any(region.start < node.lineno <= region.stop for region in regions):
            continue
        written = "\n".join(lines[node.lineno - 1 : node.end_lineno]).strip()
        found |= {text for text in (written, ast.unparse(node)) if len(text) > STATEMENT_LENGTH}
    return found
