"""The versions that a run records."""

from kit.run.versions import PACKAGES, changed_versions, versions


def test_all_packages_are_recorded() -> None:
    assert versions().keys() == {"python", *PACKAGES}


def test_versions_that_differ() -> None:
    before, now = {"jax": "0.9.0", "keras": "3.15.1"}, {"jax": "0.10.2", "keras": "3.15.1", "grain": "0.2.18"}
    assert changed_versions(before, now) == "grain None, now 0.2.18; jax 0.9.0, now 0.10.2"
    assert changed_versions(now, now) == ""
