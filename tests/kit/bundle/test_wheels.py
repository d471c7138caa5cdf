"""Which wheels a bundle has."""

from pathlib import Path

from tiny_bundle import HERE, make, names, new_packages


def test_requirements_by_the_markers_of_the_target(bundle: Path) -> None:
    assert names(bundle) == ["alpha-1.0", "beta-1.0", *["gamma-1.0"] * (HERE.python == "3.11"), "omega-1.0"]


def test_only_damaged_wheels_are_fetched_again(bundle: Path) -> None:
    damaged = next(bundle.glob("wheels/alpha-*"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-9])
    assert new_packages(make(bundle)) == ["alpha"]
    assert damaged.read_bytes() == content
