"""Mutants: the reference with one small mistake, which the checks should find."""

import ast
import copy
import itertools
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kit.course.catalogue import catalogue
from kit.course.lessons import REFERENCE_FOLDER
from kit.course.regions import find_regions
from kit.judge.catalogue import available
from kit.judge.runner import Job, Runner, Verdict

#: Mutants that compute the same as the reference, each with a reason.
EQUIVALENT_FILE = Path(__file__).parent / "equivalent_mutants.toml"

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.Mod: ast.FloorDiv,
}
#: Changes a node in place; returns whether there was anything to change.
_Change = Callable[[ast.AST], bool]


@dataclass(frozen=True)
class Mutant:
    """The reference of one exercise, with one mistake."""

    exercise: str
    #: Line of the reference, counted from 1.
    line: int
    #: The statement before and after the change, in one line each.
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        """The change as one text, without the line number."""
        return f"{self.before} -> {self.after}"


@dataclass
class Trial:
    """A mutant, and the last verdict on it."""

    mutant: Mutant
    #: Why the mutant computes the same as the reference, if that is known.
    equivalent_because: str = ""
    verdict: Verdict | None = None

    @property
    def killed(self) -> bool:
        """Whether a check failed."""
        return self.verdict is not None and not self.verdict.passed

    def as_text(self) -> str:
        """The mutant and what the checks found, in three lines."""
        if self.verdict is not None and self.verdict.diagnosis is not None:
            result = f"killed by {self.verdict.check.name}, {self.verdict.diagnosis.code}"
        else:
            result = f"SURVIVED{': ' * bool(self.equivalent_because)}{self.equivalent_because}"
        mutant = self.mutant
        return f"{mutant.exercise}:{mutant.line}  {mutant.before}\n    -> {mutant.after}\n    {result}"


@dataclass
class MutationResult:
    """All trials of a run."""

    trials: list[Trial] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def equivalent(self) -> list[Trial]:
        """Survivors that are known to compute the same as the reference."""
        return [trial for trial in self.trials if trial.equivalent_because and not trial.killed]

    @property
    def counted(self) -> list[Trial]:
        """All others."""
        return [trial for trial in self.trials if trial.killed or not trial.equivalent_because]

    @property
    def survivors(self) -> list[Trial]:
        """Mutants that the checks should have found."""
        return [trial for trial in self.counted if not trial.killed]

    @property
    def enough_killed(self) -> bool:
        """Whether the checks found at least 95% of the mutants."""
        return len(self.survivors) <= 0.05 * len(self.counted)

    def as_line(self) -> str:
        """How many were killed, in one line."""
        total = len(self.counted)
        killed = total - len(self.survivors)
        return (
            f"{killed} of {total} mutants killed ({killed / total:.1%}), {len(self.equivalent)} compute the same; "
            f"{self.seconds:.0f} s"
        )


def make_mutants(exercise: str) -> list[Mutant]:
    """All mutants of an exercise: each change of each node in the regions of the reference."""
    source = (REFERENCE_FOLDER / f"{exercise}.py").read_text(encoding="utf-8")
    found: dict[str, Mutant] = {}
    for mutant in itertools.chain(_with_nodes_changed(exercise, source), _with_statements_dropped(exercise, source)):
        found.setdefault(mutant.source, mutant)
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _with_nodes_changed(exercise: str, source: str) -> Iterator[Mutant]:
    regions = find_regions(source)
    whole = ast.parse(source)
    # The wording of a message may change; the numbers in it may not.
    wording = {id(value) for parent in ast.walk(whole) if isinstance(parent, ast.JoinedStr) for value in parent.values}
    for (position, candidate), change in itertools.product(enumerate(ast.walk(whole)), _CHANGES):
        line = getattr(candidate, "lineno", 0)
        if isinstance(candidate, ast.Constant) and id(candidate) in wording:
            continue
        if not any(region.start < line <= region.stop for region in regions) or not change(copy.deepcopy(candidate)):
            continue
        tree = ast.parse(source)
        node = next(itertools.islice(ast.walk(tree), position, None))
        statement = _statement_around(tree, node)
        if statement is None:
            continue
        before = _in_a_line(statement)
        change(node)
        ast.fix_missing_locations(tree)
        mutant = Mutant(exercise, line, before, _in_a_line(statement), ast.unparse(tree))
        if mutant.before != mutant.after:
            yield mutant


def _statement_around(tree: ast.AST, node: ast.AST) -> ast.stmt | None:
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    around: ast.AST | None = node
    while around is not None and not isinstance(around, ast.stmt):
        around = parents.get(around)
    return around


def equivalent_mutants() -> dict[str, str]:
    """Key of a mutant -> why it computes the same as the reference."""
    if not EQUIVALENT_FILE.is_file():
        return {}
    entries = tomllib.loads(EQUIVALENT_FILE.read_text(encoding="utf-8"))["mutant"]
    return {f"{entry['before']} -> {entry['after']}": entry["reason"] for entry in entries}


def try_mutants(
    exercises: Sequence[str], scratch: Path, at_once: int, report: Callable[[Trial], None]
) -> MutationResult:
    """Run the checks on each mutant until one fails, the cheap ones first.

    ``scratch`` is an empty folder for the mutants, of which ``at_once`` are tried at the same time;
    ``report`` is called with each trial when it is done.
    """
    started = time.perf_counter()
    equivalent = equivalent_mutants()
    result = MutationResult()

    def job(trial: Trial) -> Job:
        for check in available(catalogue().checks_of(trial.mutant.exercise)):
            trial.verdict = yield check
            if trial.killed:
                break
        result.trials.append(trial)
        report(trial)

    def jobs() -> Iterator[tuple[str, Job]]:
        numbers = itertools.count()
        for exercise in exercises:
            for mutant in make_mutants(exercise):
                folder = scratch / f"{exercise}-{next(numbers)}"
                folder.mkdir()
                (folder / f"{exercise}.py").write_text(mutant.source, encoding="utf-8")
                yield str(folder), job(Trial(mutant, equivalent.get(mutant.key, "")))

    with Runner(catalogue()) as runner:
        runner.run_jobs(jobs(), at_once)
    result.seconds = time.perf_counter() - started
    return result


def _with_statements_dropped(exercise: str, source: str) -> Iterator[Mutant]:
    regions = find_regions(source)
    count = len(list(ast.walk(ast.parse(source))))
    for position in range(count):
        tree = ast.parse(source)
        node = next(itertools.islice(ast.walk(tree), position, None))
        bodies = [getattr(node, name, None) for name in ("body", "orelse", "finalbody")]
        for statements in (body for body in bodies if isinstance(body, list)):
            for number, statement in enumerate(statements):
                if not any(region.start < statement.lineno <= region.stop for region in regions):
                    continue
                statements[number] = ast.copy_location(ast.Pass(), statement)
                mutated = ast.unparse(ast.fix_missing_locations(tree))
                yield Mutant(exercise, statement.lineno, _in_a_line(statement), "pass", mutated)
                statements[number] = statement


def _in_a_line(statement: ast.stmt) -> str:
    return " ".join(ast.unparse(statement).split())


def _other_constant(node: ast.AST) -> bool:
    if not isinstance(node, ast.Constant):
        return False
    value = node.value
    if isinstance(value, bool):
        node.value = not value
    elif isinstance(value, int | float):
        node.value = value + 1
    elif value in ("model", "batch"):
        node.value = "batch" if value == "model" else "model"
    elif value is None:
        node.value = 0
    elif isinstance(value, str) and value:
        node.value = value + "x"
    else:
        return False
    return True


def _other_operator(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        node.ops[0] = _COMPARISONS[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        node.op = _ARITHMETIC[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
    else:
        return False
    return True


def _rotate(node: ast.AST) -> bool:
    """Rotate the elements of a tuple or list, or the arguments of a call."""
    items = node.elts if isinstance(node, ast.Tuple | ast.List) else node.args if isinstance(node, ast.Call) else []
    if len(items) < 2:
        return False
    items.append(items.pop(0))
    return True


def _drop_last(node: ast.AST) -> bool:
    """Drop the last element of a tuple or list, or the last argument of a call."""
    items = node.elts if isinstance(node, ast.Tuple | ast.List) else node.args if isinstance(node, ast.Call) else []
    if not items or isinstance(getattr(node, "ctx", None), ast.Store):
        return False
    items.pop()
    return True


def _drop_keyword(number: int) -> _Change:
    def drop(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or len(node.keywords) <= number:
            return False
        node.keywords.pop(number)
        return True

    return drop


def _return_nothing(node: ast.AST) -> bool:
    if not isinstance(node, ast.Return) or node.value is None:
        return False
    node.value = None
    return True


def _ignore_condition(node: ast.AST) -> bool:
    if not isinstance(node, ast.If | ast.IfExp):
        return False
    node.test = ast.copy_location(ast.Constant(True), node.test)
    return True


def _undo_slice(node: ast.AST) -> bool:
    """``values[:n]`` becomes ``values``."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Slice):
        return False
    node.slice.lower = node.slice.upper = None
    return True


_CHANGES: tuple[_Change, ...] = (
    _other_constant,
    _other_operator,
    _rotate,
    _drop_last,
    *(_drop_keyword(number) for number in range(4)),
    _return_nothing,
    _ignore_condition,
    _undo_slice,
)
