"""The tests' command line, and what must be set before jax is imported. Imports no framework."""

from pathlib import Path

import pytest

from kit.errors import UserError
from kit.runtime.platform import DEFAULT_SIMULATED_DEVICES, choose_platform, prepare_environment

ROOT = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kit")
    group.addoption(
        "--impl",
        default="exercises",
        help="What is tested: exercises (yours), reference (ours, and the kit's own tests), or a folder.",
    )
    group.addoption("--platform", default="auto", help="auto, cpu (8 simulated devices), gpu or tpu.")


def pytest_configure(config: pytest.Config) -> None:
    try:
        platform = choose_platform(config.getoption("--platform"))
        prepare_environment(platform, DEFAULT_SIMULATED_DEVICES)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    impl = config.getoption("--impl")
    if impl != "reference" and not Path(impl).is_dir():
        raise pytest.UsageError(
            f"--impl={impl}: there is no such folder here. `pytest --impl=reference` tests the kit and the parts that come with it."
        )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # The kit's own tests say nothing about a learner's code.
    if config.getoption("--impl") != "reference" and collection_path == ROOT / "tests" / "kit":
        return True
    return None
