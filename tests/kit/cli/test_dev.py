"""`kit dev` reports mistakes in one sentence. Its work is tested in tests/kit/dev."""

import importlib.util
from pathlib import Path

import pytest
from command_line import Kit, expect_one_sentence


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "meshes"], "There is no exercise 'meshes'"),
        (["check", "mesh", "--solutions", "nowhere"], "nowhere: there is no such folder"),
        (["mutate", "meshes"], "There is no exercise 'meshes'"),
        (["pretrain", ".", "--output", "there", "--steps", "0"], "--steps 0: must be at least 1"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_sentence(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output, error = kit("dev", *arguments)
    assert (code, output) == (2, "")
    expect_one_sentence(error, message)
    assert not list(tmp_path.iterdir())


def test_an_installed_kit_has_no_author_tools(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "kit.dev" else find_spec(name))
    code, _, error = kit("dev", "check")
    assert code == 2
    assert error.startswith("kit: `kit dev` needs a clone of the kit's repository")
