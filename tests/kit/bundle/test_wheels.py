"""Which wheels a bundle has."""

from pathlib import Path

from tiny_bundle import HERE, names


def test_requirements_by_the_markers_of_the_target(bundle: Path) -> None:
    assert names(bundle) == ["alpha-1.0", "beta-1.0", *["gamma-1.0"] * (HERE.python == "3.11"), "omega-1.0"]
