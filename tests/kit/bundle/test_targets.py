"""The machines that a bundle may be for."""

import pytest

from kit.bundle.targets import find_target
from kit.errors import UserError


@pytest.mark.parametrize(
    ("python", "platform", "message"),
    [
        ("3.10", None, "--python 3.10: the kit runs on Python 3.11, 3.12 and 3.13"),
        (None, "windows", "--platform windows: unknown platform. Use pip's notation"),
        (None, "manylinux_2_31_arm64", "Use pip's notation"),
    ],
)
def test_an_unknown_machine(python: str | None, platform: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_target(python, platform)
