"""A diagnosis crosses a pipe as data."""

import pytest

from kit.checks.diagnosis import Diagnosis, Failed


def test_a_diagnosis_crosses_a_pipe() -> None:
    made = Failed("MESH_WRONG_SHAPE", "cause", ("a", "b"), [(1, (2, 3))]).diagnosis
    assert made.rows == (("1", "(2, 3)"),)
    assert Diagnosis.from_dict(made.as_dict()) == made


PATH = "backbone/decoder_block_1/attention/multi_head_attention/query/kernel"


@pytest.mark.parametrize("columns", [80, 60])
def test_it_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Sentences are wrapped, and paths keep their beginning and their end."""
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [(PATH, "(8, 128, 16)", "replicated over all devices"), ("short", "(1)", "sharded")]
    diagnosis = Failed("MESH_WRONG_SHAPE", "a cause " * 20, ("variable", "shape", "yours"), rows, "try " * 30).diagnosis
    lines = diagnosis.for_terminal("mesh").splitlines()
    assert max(map(len, lines)) <= columns
    (row,) = [line for line in lines if line.startswith("    back")]
    assert "…" in row
    assert "kernel" in row
    assert "(8, 128, 16)" in row


def test_without_a_terminal_nothing_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", None)
    diagnosis = Failed("MESH_WRONG_SHAPE", "a cause", ("variable", "shape"), [(PATH, "(8, 128, 16)")]).diagnosis
    assert diagnosis.for_terminal() == diagnosis.as_text()
    assert PATH in diagnosis.for_terminal()


def test_an_untouched_stub_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    cause = "mine/layout.py::gemma_layout_map (line 23) is not implemented yet; see `kit hint layout`."
    text = Failed("NOT_IMPLEMENTED", cause).diagnosis.for_terminal("layout")
    assert max(map(len, text.splitlines())) <= 60
    assert " ".join(text.split()) == f"NOT_IMPLEMENTED: {cause}"
