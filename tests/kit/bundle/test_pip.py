"""Wheels that pip fetches, and a network that fails."""

from pathlib import Path

import pytest
from tiny_bundle import make, new_packages

from kit.errors import UserError


def test_only_damaged_wheels_are_fetched_again(bundle: Path) -> None:
    damaged = next(bundle.glob("wheels/alpha-*"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-9])
    assert new_packages(make(bundle)) == ["alpha"]
    assert damaged.read_bytes() == content


def test_without_a_network_a_finished_bundle_is_unchanged(
    bundle: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    monkeypatch.delenv("PIP_NO_INDEX")
    # Nothing listens on port 9, discard.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    (root / "constraints.txt").write_text("alpha==1.0\nbeta==3.0\n")
    with pytest.raises(
        UserError, match=r"beta==3\.0 could not be downloaded from the package index: check the network"
    ):
        make(bundle)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
