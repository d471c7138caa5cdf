"""Fixtures of the tests of the kit itself, in which warnings are errors."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_run import made_run

from kit.installation import install_command
from kit.judge.check_process import UNOPTIMIZED
from kit.tpu.compiler import has_libtpu

HERE = Path(__file__).parent
WARNINGS = (
    "error",
    # XLA on the CPU warns of donated buffers that it cannot use.
    "ignore:Some donated buffers were not usable",
    # Keras' variables have NumPy 1's __array__.
    "ignore:__array__ implementation doesn't accept a copy keyword",
    # Another process is writing the same program; JAX compiles it again.
    "ignore:Error reading persistent compilation cache entry",
    # KerasHub leaves the file of a vocabulary open until it is collected.
    "ignore:.*(vocabulary.spm|tokenizer.model):ResourceWarning",
    "ignore:.*(vocabulary.spm|tokenizer.model):pytest.PytestUnraisableExceptionWarning",
)

# The programs that tests start print to pipes. pytest imports readline, which sets these for them
# where pytest itself has a terminal.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)
    os.unsetenv(name)

# Most programs here run for a moment: LLVM's optimization would take longer than they do.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " " + UNOPTIMIZED


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            # Warnings are errors, except these.
            for warning in WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))
            if item.get_closest_marker("libtpu") and not has_libtpu():
                item.add_marker(pytest.mark.skip(f"needs the TPU compiler: {install_command('tpu')}"))
            if "chromium" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.browser)


@pytest.fixture(autouse=True)
def no_distribution(request: pytest.FixtureRequest) -> Iterator[None]:
    """Reset the distribution after each test that imported Keras."""
    yield
    import sys

    if "keras" in sys.modules:
        import keras

        keras.distribution.set_distribution(None)


@pytest.fixture(scope="session")
def devices() -> list[str]:
    """The eight simulated devices. With fewer, checks of a sharding would be vacuous, so raise."""
    import keras

    names = keras.distribution.list_devices()
    if len(names) != 8:
        raise RuntimeError(
            f"The tests need 8 devices and found {len(names)}: run them with --platform=cpu, from the root."
        )
    return names


@pytest.fixture
def mesh_1x8(devices: list[str]) -> Any:
    """A mesh of Keras' own making, (1, 8)."""
    import keras

    return keras.distribution.DeviceMesh((1, 8), ["batch", "model"], devices)


@pytest.fixture
def mesh_2x4(devices: list[str]) -> Any:
    """A mesh of Keras' own making, (2, 4)."""
    import keras

    return keras.distribution.DeviceMesh((2, 4), ["batch", "model"], devices)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a small run, whose content is known."""
    return made_run(tmp_path / "run")


@pytest.fixture
def reviews() -> list[str]:
    """Sixteen short texts that stand for reviews."""
    subjects = ["film", "plot", "cast", "music", "script", "ending", "camera", "humour"]
    return [
        f"The {subject} of this one is {word}. I saw it twice, and it was the {subject} that stayed with me."
        for subject in subjects
        for word in ("dull", "great")
    ]
