"""The tests' command line, and what must be set before jax is imported. Imports no framework."""

import pytest

from kit.errors import UserError
from kit.runtime.platform import DEFAULT_SIMULATED_DEVICES, choose_platform, prepare_environment


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kit")
    group.addoption(
        "--impl",
        default="exercises",
        help="What is tested: reference (the parts that come with the kit, and the kit itself).",
    )
    group.addoption("--platform", default="auto", help="auto, cpu (8 simulated devices), gpu or tpu.")


def pytest_configure(config: pytest.Config) -> None:
    try:
        platform = choose_platform(config.getoption("--platform"))
        prepare_environment(platform, DEFAULT_SIMULATED_DEVICES)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    impl = config.getoption("--impl")
    if impl != "reference":
        raise pytest.UsageError(
            f"--impl={impl}: the exercises and their tests are not here yet. `pytest --impl=reference` tests the kit and the "
            "parts that come with it."
        )
