"""Each test file of an exercise is run once for each check that the catalog has of it."""

import pytest

from kit.course.catalogue import catalogue


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the checks of ``test_mesh.py``, each marked by its layer, to its test."""
    checks = catalogue().checks_of(metafunc.module.__name__.rpartition(".")[2].removeprefix("test_"))
    # The engine has limits of its own, which do not depend on how busy the machine is.
    no_timeout = pytest.mark.timeout(0)
    metafunc.parametrize(
        "check",
        [pytest.param(check, id=check.id, marks=(getattr(pytest.mark, check.layer), no_timeout)) for check in checks],
    )
