"""Fixtures with bundles of a tiny course."""

import shutil
from pathlib import Path

import pytest
from tiny_bundle import TinyBundle, make, write_course, write_index, write_wheel

from kit.bundle import folder as bundle_folder
from kit.errors import UserError


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    """A bundle for this machine, made in two attempts: at the first, the index lacks a package."""
    place = tmp_path_factory.mktemp("made")
    made = TinyBundle(*(place / name for name in ("index", "tree", "unfinished", "finished")))
    write_index(made.index)
    write_course(made.root)
    with pytest.MonkeyPatch.context() as patch:
        made.use(patch)
        with pytest.raises(UserError, match=r"There is no wheel of omega for Python .* on ") as caught:
            make(made.finished)
        assert "\n" not in str(caught.value)
        shutil.copytree(made.finished, made.unfinished)
        write_wheel(made.index, "omega")
        make(made.finished)
    return made


@pytest.fixture
def bundle(made: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished bundle."""
    made.use(monkeypatch)
    return Path(shutil.copytree(made.finished, tmp_path / "a stick"))


@pytest.fixture
def root(made: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny course, which `kit bundle` packs."""
    made.use(monkeypatch)
    copy = Path(shutil.copytree(made.root, tmp_path / "tree"))
    monkeypatch.setattr(bundle_folder, "find_root", lambda: copy)
    return copy
