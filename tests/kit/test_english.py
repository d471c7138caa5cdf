"""Texts use the words of the glossary, and lines have a limited length."""

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"

CODE_WIDTH = 120
TEXT_WIDTH = 100

PATTERNS = (
    *("README.md", "CONTRIBUTING.md", "docs/*.md", ".ci/*", "pyproject.toml"),
    *("kit/**/*.md", "kit/**/*.sh", "kit/**/*.html", "kit/**/*.css", "kit/**/*.toml"),
    *("tests/solutions/**/*.toml", "tests/walk/*.toml"),
)
TEXTS = sorted({file for pattern in PATTERNS for file in ROOT.glob(pattern)} - {GLOSSARY})
#: The stubs stand for the exercises, which are the learner's.
PROGRAMS = sorted(file for folder in ("kit", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py"))
PROGRAMS += [ROOT / "conftest.py", ROOT / "setup.py"]


def forbidden() -> dict[str, re.Pattern[str]]:
    """The phrases in quotation marks in the first column of the glossary's second table."""
    table = GLOSSARY.read_text(encoding="utf-8").partition("## Words that are not used")[2]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    phrases = [phrase for cell in first_cells for phrase in re.findall(r'"([^"]+)"', cell)]
    words = {phrase: re.escape(phrase).replace("…", ".{1,60}").replace(r"\ ", r"[\s_]+") for phrase in phrases}
    return {phrase: re.compile(rf"(?<![\w-]){word}(?![\w-])", re.IGNORECASE) for phrase, word in words.items()}


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """Lines of a document, or comments, strings and names of a program, with their numbers."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string.replace("_", " ")
        elif token.type not in (tokenize.OP, tokenize.NUMBER):
            yield from enumerate(token.string.splitlines(), token.start[0])


def is_broken(file: Path) -> bool:
    """Whether a program has a syntax error, as a wrong solution may."""
    try:
        ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError:
        return True
    return False


@functools.cache
def read() -> dict[Path, list[tuple[int, str]]]:
    """All lines that a person reads, by file."""
    files = [*TEXTS, *(file for file in PROGRAMS if not is_broken(file))]
    return {file: list(lines_of(file)) for file in files}


def shown(file: Path, number: int, text: str) -> str:
    """One line of a report."""
    return f"{file.relative_to(ROOT)}:{number}: {text}"


def test_something_is_read() -> None:
    assert len(forbidden()) > 50
    assert len(TEXTS) > 20
    assert len(PROGRAMS) > 100


@pytest.mark.parametrize("phrase", sorted(forbidden()))
def test_forbidden_words(phrase: str) -> None:
    pattern = forbidden()[phrase]
    lines = ((file, number, line) for file, lines in read().items() for number, line in lines)
    hits = sorted({shown(file, number, line.strip()) for file, number, line in lines if pattern.search(line)})
    assert not hits, f"{len(hits)} lines have {phrase!r} (docs/glossary.md has a better word):\n" + "\n".join(hits)


def too_long(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a program that are longer than code, or a comment or docstring, may be."""
    text = file.read_text(encoding="utf-8")
    prose = {number for number, line in enumerate(text.splitlines(), 1) if line.lstrip().startswith("#")}
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            prose |= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > (TEXT_WIDTH if number in prose else CODE_WIDTH):
            yield number, line.strip()


def test_long_lines() -> None:
    """Code has at most 120 characters a line, comments and docstrings 100."""
    hits = [shown(file, number, line) for file in PROGRAMS if not is_broken(file) for number, line in too_long(file)]
    assert not hits, f"{len(hits)} lines are too long:\n" + "\n".join(hits)
