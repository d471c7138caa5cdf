"""The tests of a clone: those of the exercises, and with ``--impl=reference`` those of the kit.

``-m long`` selects the long tests, which are left out otherwise. Imports no framework.
"""

from pathlib import Path

import pytest

from kit.course.pytest_exercises import platform_of
from kit.parts.implementation import REFERENCE

pytest_plugins = ["kit.course.pytest_exercises"]

KIT_TESTS = Path(__file__).parent / "tests" / "kit"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "long: takes minutes; left out unless `-m` names it or `::` names a test; CI runs it"
    )
    config.addinivalue_line("markers", "libtpu: a test of the kit itself that needs the TPU compiler")
    config.addinivalue_line("markers", "browser: a test of the kit itself that needs Chromium")
    if not _tests_the_kit(config) and any(
        KIT_TESTS in (path := Path(arg.partition("::")[0]).resolve()).parents or path == KIT_TESTS
        for arg in config.args
    ):
        raise pytest.UsageError(
            "tests/kit has the tests of the kit itself, which need simulated devices: "
            "`pytest --impl=reference --platform=cpu tests/kit`."
        )


def _tests_the_kit(config: pytest.Config) -> bool:
    return bool(config.getoption("--impl") == REFERENCE) and platform_of(config) == "cpu"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore the kit's own tests unless the reference is checked on simulated devices."""
    return True if collection_path == KIT_TESTS and not _tests_the_kit(config) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long tests out unless they are selected, and sort the tests.

    First the kit's own tests, then the exercises, and last the whole runs: what takes longest runs
    in other processes meanwhile.
    """
    named = any("::" in argument for argument in config.args)
    if not (named or "long" in config.getoption("markexpr")):
        long = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)
    items.sort(key=lambda item: (item.get_closest_marker("style") is not None, KIT_TESTS not in item.path.parents))
