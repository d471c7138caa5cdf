"""A pytest plugin for your own suite: simulated devices, device meshes, and models without weights.

pytest loads it at every start, so it imports nothing but pytest until a fixture or the option
``simulated_devices`` is used.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import keras

    from kit.models.weightless import DescribedModel

#: Devices that the fixtures simulate by default: as many as a TPU v5e-8 has chips.
DEFAULT_DEVICES = 8

#: After a test with one of these fixtures the plugin clears Keras' distribution.
FIXTURES = frozenset({"simulated_devices", "device_mesh", "weightless_model", "sharding_lock"})

REMEDY = "set `simulated_devices = {}` in pytest's ini file (or `pytest --simulated-devices {}`)"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and its counterpart in the ini file."""
    text = "Simulate this many CPU devices for Keras on JAX."
    parser.getgroup("kit").addoption("--simulated-devices", type=int, metavar="N", help=text)
    parser.addini("simulated_devices", text, type="string", default="")


# Runs before pytest imports the first conftest.py, which may import keras.
@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Set the environment if the option or the ini file asks for simulated devices."""
    number = _asked_for(early_config)
    if number is not None:
        try:
            _prepare(number)
        except RuntimeError as error:
            raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let Keras number unnamed layers from 0, so that no test depends on those before it."""
    if "keras" in sys.modules and (
        _asked_for(item.config) is not None or not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
    ):
        from keras.src.backend.common import global_state

        global_state.set_global_attribute("object_name_uids", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Clear the distribution for the next test."""
    try:
        yield
    finally:
        if "keras" in sys.modules and not FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            import keras

            keras.distribution.set_distribution(None)


@pytest.fixture(scope="session")
def simulated_devices(pytestconfig: pytest.Config) -> list[str]:
    """The names of the simulated devices, ``cpu:0`` and so on.

    There are as many as ``simulated_devices`` in the ini file says, or 8. Another number of
    devices, or Keras on another backend, is an error and never a skip: on one device every check of
    a sharding would pass.
    """
    number = _asked_for(pytestconfig) or DEFAULT_DEVICES
    try:
        _prepare(number)
        return _devices(number)
    except RuntimeError as error:
        message = str(error)
    pytest.fail(message, pytrace=False)


@pytest.fixture
def device_mesh(simulated_devices: list[str]) -> "Callable[..., keras.distribution.DeviceMesh]":
    """Makes device meshes: ``device_mesh(2, 4)`` has the axes "batch" (2) and "model" (4).

    ``device_mesh()`` has all devices in the second axis. A smaller mesh takes the first devices; a
    larger one raises a ValueError with both numbers. ``axis_names`` gives the axes other names.
    """

    def make(
        batch: int = 1, model: int | None = None, *, axis_names: tuple[str, str] = ("batch", "model")
    ) -> "keras.distribution.DeviceMesh":
        import keras

        count = len(simulated_devices)
        if model is None:
            model = count // batch if batch > 0 else 0
        if batch < 1 or model < 1 or batch * model > count:
            raise ValueError(f"device_mesh({batch}, {model}) needs {batch * model} devices; {count} are simulated")
        return keras.distribution.DeviceMesh((batch, model), list(axis_names), simulated_devices[: batch * model])

    return make


@pytest.fixture
def weightless_model(
    simulated_devices: list[str],
) -> "Callable[[Callable[[], keras.Model] | Mapping[str, Any]], DescribedModel]":
    """Describes the variables of a model of any size, without memory for its weights.

    It takes a function that builds the model, or the content of a preset's ``config.json``, and
    returns a list of :class:`kit.models.weightless.VariableInfo`: path, shape, dtype, trainable,
    size and nbytes; its attribute ``layers`` has the paths of the layers. Unnamed layers are
    numbered from 0. The function must not make an optimizer or a metric, which Keras cannot create
    without values: pass the function that builds the backbone.
    """

    def described(source: "Callable[[], keras.Model] | Mapping[str, Any]") -> "DescribedModel":
        __tracebackhide__ = True
        from kit.models.weightless import build_backbone, describe_model, fresh_names, no_weights

        with no_weights(), fresh_names():
            try:
                model = build_backbone(source) if isinstance(source, Mapping) else source()
            except ValueError as error:
                if "create a variable while in a stateless scope" not in str(error):
                    raise
                pytest.fail(
                    "weightless_model: the function makes an optimizer or a metric, which Keras cannot create without "
                    "values. A KerasHub task makes both: pass a function that builds only the backbone.",
                    pytrace=False,
                )
            return describe_model(model)

    return described


@pytest.fixture
def sharding_lock(simulated_devices: list[str], pytestconfig: pytest.Config) -> "Callable[..., None]":
    """Compares a file of `kit lock` with today's model, and fails with what differs.

    ``sharding_lock()`` takes ``sharding.lock`` in pytest's root folder; a path is relative to it.
    By default the layout map is compared, which takes seconds; with ``compile=True`` the step is
    compiled as well, for the topologies of the lock. A mistake, such as a lock that does not exist
    or is for another number of devices, fails the test, too.
    """

    def check(file: str | os.PathLike[str] = "sharding.lock", *, compile: bool = False) -> None:
        __tracebackhide__ = True
        from kit.errors import UserError
        from kit.lock.checking import check_lock, report_of
        from kit.lock.toml_file import read_lock

        path = pytestconfig.rootpath / file
        try:
            lock, count = read_lock(path), len(simulated_devices)
            if lock.devices != count:
                remedy = REMEDY.format(lock.devices, lock.devices)
                pytest.fail(f"{file}: it is for {lock.devices} devices, and {count} are simulated: {remedy}.", False)
            comparison = check_lock(lock, path.parent, compile and bool(lock.compiled))
        except UserError as error:
            message = str(error)
        else:
            if not comparison.differences:
                return
            message = report_of(comparison, str(file))
        pytest.fail(message, pytrace=False)

    return check


def _asked_for(config: pytest.Config) -> int | None:
    """The number of devices that the command line or the ini file asks for, or None."""
    asked = config.known_args_namespace.simulated_devices
    if asked is None:
        asked = config.getini("simulated_devices") or None
    if asked is None:
        return None
    try:
        number = int(asked)
    except ValueError:
        number = 0
    if number < 1:
        raise pytest.UsageError(f"simulated_devices = {asked}: give a number of devices, such as 8.")
    return number


def _devices(number: int) -> list[str]:
    """The names of the devices. Raises RuntimeError if there is another number of them."""
    import keras

    names: list[str] = keras.distribution.list_devices()
    if len(names) != number:
        raise RuntimeError(
            f"{number} simulated devices are needed, but JAX has {len(names)}: {REMEDY.format(number, number)}."
        )
    return names


def _prepare(number: int) -> None:
    """Make JAX simulate this many devices.

    Raises RuntimeError, with the remedy, if it has started.
    """
    from kit.errors import UserError
    from kit.runtime.platform import prepare_environment

    remedy = REMEDY.format(number, number)
    if "keras" in sys.modules:
        import keras

        if (backend := keras.backend.backend()) != "jax":
            raise RuntimeError(
                f"{number} simulated devices are needed, but Keras was imported with the backend {backend}: {remedy}, "
                "so that JAX is chosen before a test module imports Keras."
            )
    try:
        prepare_environment("cpu", number, tensorflow=True)
    except UserError:
        import jax

        found = f"{jax.device_count()} {jax.default_backend()} device{'s' if jax.device_count() != 1 else ''}"
        raise RuntimeError(
            f"{number} simulated devices are needed, but JAX has started with {found}: {remedy}, so that they are "
            "simulated before a test module starts JAX."
        ) from None
    if "jax" in sys.modules:
        import jax

        # JAX reads the environment when it is imported, so it would miss the change.
        jax.config.update("jax_platforms", "cpu")
