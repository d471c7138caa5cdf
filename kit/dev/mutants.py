"""Mutants: the reference with one small mistake, to see whether the checks find it."""

import ast
import copy
import itertools
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.course.catalogue import catalogue
from kit.judge.catalogue import available
from kit.judge.runner import Job, Runner, Verdict
from kit.course.lessons import REFERENCE_FOLDER
from kit.course.regions import find_regions

#: Mutants that compute the same, each with its reason.
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
#: A change of one node in place; True if there was anything to change.
_Change = Callable[[ast.AST], bool]


@dataclass(frozen=True)
class Mutant:
    """The reference of one exercise, with one mistake."""

    exercise: str
    #: Line of the reference, counted from 1.
    line: int
    #: The statement as it was and as it is, in one line each.
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        """What it is known by, whatever line it stands on."""
        return f"{self.before} -> {self.after}"


@dataclass
class Trial:
    """A mutant and what the checks said."""

    mutant: Mutant
    verdict: Verdict | None = None

    @property
    def killed(self) -> bool:
        """Whether a check failed."""
        return self.verdict is not None and not self.verdict.passed


def make_mutants(exercise: str) -> list[Mutant]:
    """All mutants of an exercise: each change of each node within the tagged regions of the reference."""
    source = (REFERENCE_FOLDER / f"{exercise}.py").read_text(encoding="utf-8")
    regions = find_regions(source)

    def statement_of(tree: ast.AST, node: ast.AST) -> ast.stmt | None:
        """The smallest statement around a node."""
        parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
        around: ast.AST | None = node
        while around is not None and not isinstance(around, ast.stmt):
            around = parents.get(around)
        return around

    found: dict[str, Mutant] = {}
    whole = ast.parse(source)
    # The wording of a message is nobody's mistake; the numbers in it are.
    wording = {id(value) for parent in ast.walk(whole) if isinstance(parent, ast.JoinedStr) for value in parent.values}
    for (position, candidate), change in itertools.product(enumerate(ast.walk(whole)), _CHANGES):
        line = getattr(candidate, "lineno", 0)
        if isinstance(candidate, ast.Constant) and id(candidate) in wording:
            continue
        if not any(region.start < line <= region.stop for region in regions) or not change(copy.deepcopy(candidate)):
            continue
        tree = ast.parse(source)
        node = next(itertools.islice(ast.walk(tree), position, None))
        statement = statement_of(tree, node)
        if statement is None:
            continue
        before = _in_a_line(statement)
        change(node)
        ast.fix_missing_locations(tree)
        mutated = ast.unparse(tree)
        mutant = Mutant(exercise, line, before, _in_a_line(statement), mutated)
        if mutant.before != mutant.after:
            found.setdefault(mutated, mutant)
    for mutant in _with_statements_dropped(exercise, source):
        found.setdefault(mutant.source, mutant)
    return sorted(found.values(), key=lambda mutant: mutant.line)


def equivalent_mutants() -> dict[str, str]:
    """Key of a mutant -> why it computes the same.

    Raises:
        KeyError: if an entry has no reason.

    """
    if not EQUIVALENT_FILE.is_file():
        return {}
    entries = tomllib.loads(EQUIVALENT_FILE.read_text(encoding="utf-8"))["mutant"]
    return {f"{entry['before']} -> {entry['after']}": entry["reason"] for entry in entries}


def try_mutants(exercises: Sequence[str], scratch: Path, at_once: int, tell: Callable[[Trial], None]) -> list[Trial]:
    """Run the checks on each mutant until one fails, the cheap ones first.

    Args:
        exercises: Whose reference is mutated.
        scratch: An empty folder to work in.
        at_once: Mutants at the same time.
        tell: Is told of each when it is done.

    """
    done: list[Trial] = []

    def job(trial: Trial) -> Job:
        for check in available(catalogue().checks_of(trial.mutant.exercise)):
            trial.verdict = yield check
            if trial.killed:
                break
        done.append(trial)
        tell(trial)

    def jobs() -> Iterator[tuple[str, Job]]:
        numbers = itertools.count()
        for exercise in exercises:
            for mutant in make_mutants(exercise):
                folder = scratch / f"{exercise}-{next(numbers)}"
                folder.mkdir()
                (folder / f"{exercise}.py").write_text(mutant.source, encoding="utf-8")
                yield str(folder), job(Trial(mutant))

    with Runner(catalogue()) as runner:
        runner.run_jobs(jobs(), at_once)
    return done


def _with_statements_dropped(exercise: str, source: str) -> Iterator[Mutant]:
    regions = find_regions(source)
    count = len(list(ast.walk(ast.parse(source))))
    for position in range(count):
        tree = ast.parse(source)
        node = next(itertools.islice(ast.walk(tree), position, None))
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if not isinstance(statements, list):
                continue
            for number, statement in enumerate(statements):
                if not any(region.start < statement.lineno <= region.stop for region in regions):
                    continue
                kept = list(statements)
                statements[number] = ast.copy_location(ast.Pass(), statement)
                yield Mutant(
                    exercise,
                    statement.lineno,
                    _in_a_line(statement),
                    "pass",
                    ast.unparse(ast.fix_missing_locations(tree)),
                )
                statements[:] = kept


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


def _turn(node: ast.AST) -> bool:
    """Elements of a tuple or list, or arguments of a call, in another order: axes swapped, a dimension moved."""
    items = node.elts if isinstance(node, ast.Tuple | ast.List) else node.args if isinstance(node, ast.Call) else []
    if len(items) < 2:
        return False
    items.append(items.pop(0))
    return True


def _drop_last(node: ast.AST) -> bool:
    """The last element of a tuple or list, or the last argument of a call."""
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
    _turn,
    _drop_last,
    *(_drop_keyword(number) for number in range(4)),
    _return_nothing,
    _ignore_condition,
    _undo_slice,
)
