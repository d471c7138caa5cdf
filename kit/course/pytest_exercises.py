"""The exercises in pytest: options, settings that must precede the import of jax, and the checks.

A folder with exercises has ``pytest_plugins = ["kit.course.pytest_exercises"]`` in its conftest.py:
`pytest` checks its exercises, `pytest --impl=reference` the solution, and `pytest --impl=FOLDER`
the modules of any folder. Imports no framework.

PYTEST_DONT_REWRITE: it is imported before pytest registers it, and asserts nothing.
"""

import sys
from pathlib import Path

import pytest

from kit.course.catalogue import catalogue
from kit.course.pytest_results import keep
from kit.errors import UserError
from kit.judge.catalogue import LAYERS, Check, Judge, install_libtpu
from kit.judge.runner import Runner
from kit.judge.waiting import waiting_line
from kit.parts.implementation import EXERCISES, find_parts
from kit.runtime.platform import DEFAULT_SIMULATED_DEVICES, Platform, choose_platform_of_checks, prepare_environment

pytest_plugins = ["kit.course.pytest_results"]

RUNNER = pytest.StashKey[Runner]()
#: The beginning of the reason of a skipped check.
WITHOUT_LIBTPU = "needs the TPU compiler, which is in libtpu"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--impl`` and ``--platform``."""
    group = parser.getgroup("kit")
    group.addoption(
        "--impl",
        default=EXERCISES,
        help="What to check: exercises (yours), reference (the solution), or a folder with the same modules.",
    )
    group.addoption(
        "--platform",
        default="auto",
        help="auto (several TPU chips, else several GPUs, else cpu), cpu (8 simulated devices), gpu or tpu.",
    )


def platform_of(config: pytest.Config) -> Platform:
    """The platform of the checks. Raises UserError if this machine does not have it."""
    return choose_platform_of_checks(config.getoption("--platform"))


def check_of(item: pytest.Item) -> Check | None:
    """The check that a test makes; None for a test of something else."""
    check = item.callspec.params.get("check") if hasattr(item, "callspec") else None
    return check if isinstance(check, Check) else None


def exercise_tests(config: pytest.Config) -> Path:
    """The folder with a test file for each exercise."""
    return config.rootpath / "tests" / "exercises"


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the platform, and start to import the libraries."""
    for layer, answers in LAYERS.items():
        config.addinivalue_line("markers", f"{layer}: {answers}")
    beside_the_tests = config.rootpath / EXERCISES
    if config.option.impl == EXERCISES and not Path(EXERCISES).is_dir() and beside_the_tests.is_dir():
        # pytest was started in another folder, with the path of a test.
        config.option.impl = str(beside_the_tests)
    try:
        platform = platform_of(config)
        prepare_environment(platform, DEFAULT_SIMULATED_DEVICES)
        find_parts(config.getoption("--impl"))
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    _begin_to_import(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the checks of ``test_mesh.py``, each marked by its layer, to its test."""
    file = metafunc.definition.path
    if file.parent != exercise_tests(metafunc.config) or "check" not in metafunc.fixturenames:
        return
    checks = catalogue().checks_of(file.stem.removeprefix("test_"))
    # The engine has limits of its own, which do not depend on how busy the machine is.
    no_timeout = pytest.mark.timeout(0)
    metafunc.parametrize(
        "check",
        [pytest.param(check, id=check.id, marks=(getattr(pytest.mark, check.layer), no_timeout)) for check in checks],
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the exercises in the order of the course, and last the whole runs."""
    order = {exercise.name: exercise.number for exercise in catalogue().everything}
    tests = exercise_tests(config)
    items.sort(
        key=lambda item: (
            item.get_closest_marker("style") is not None,
            order.get(item.path.stem.removeprefix("test_"), 0) if item.path.parent == tests else 0,
        )
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start to import the libraries in another process, unless only stubs are checked."""
    config = session.config
    if config.getoption("collectonly"):
        return
    runner = config.stash.setdefault(RUNNER, Runner(catalogue(), platform_of(config)))
    checks = [check for item in session.items if (check := check_of(item)) and check.is_available]
    impl = config.getoption("--impl")
    runner.warm_up(
        dict.fromkeys(check.exercise for check in checks if check.layer != "tpu" and runner.needs_running(impl, check))
    )
    # On the other core, while the tests run: first the whole runs, which take by far the longest,
    # then the last checks.
    ahead = [check for check in checks if check.layer == "style"]
    if not hasattr(config, "workerinput") and not config.getoption("maxfail"):
        ahead += [check for check in reversed(checks) if check.layer not in ("style", "tpu")]
    runner.begin((impl, check) for check in ahead)


def _begin_to_import(config: pytest.Config) -> None:
    """Start the process of the checks before collection, if a selected exercise is written."""
    distributes = bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")
    if config.getoption("collectonly") or distributes:
        return
    paths = [Path(arg.partition("::")[0]).resolve() for arg in config.args]
    tests = exercise_tests(config)
    whole = any(path in (config.rootpath, tests.parent, tests) for path in paths)
    named = [path.stem.removeprefix("test_") for path in paths if path.parent == tests]
    runner = Runner(catalogue(), platform_of(config))
    impl = config.getoption("--impl")
    for exercise in catalogue().names if whole else [name for name in named if name in catalogue().names]:
        if any(runner.needs_running(impl, check) for check in catalogue().checks_of(exercise)):
            config.stash[RUNNER] = runner
            runner.warm_up([exercise])
            return


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hypothesis' plugin has nothing to report, and would import hypothesis to find out."""
    plugin = session.config.pluginmanager.get_plugin("hypothesispytest")
    if plugin is not None and "hypothesis" not in sys.modules:
        session.config.pluginmanager.unregister(plugin)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the processes of the checks."""
    if RUNNER in config.stash:
        config.stash[RUNNER].close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say that a layer was not checked: pytest counts its tests as skipped, without a reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = [report for report in skipped if WITHOUT_LIBTPU in str(report.longrepr)]
    if left_out:
        number = f"{len(left_out)} checks" if len(left_out) > 1 else "1 check"
        terminalreporter.write_line(
            f"Not checked: {number} of the layer tpu_compile, because libtpu is missing. {install_libtpu()}",
            yellow=True,
        )


@pytest.fixture(scope="session")
def _shown() -> dict[object, str]:
    """Diagnoses that were shown in full, each with the test that showed it."""
    return {}


@pytest.fixture
def judge(request: pytest.FixtureRequest, _shown: dict[object, str]) -> Judge:
    """Return a function that runs a check on the implementation, and fails with its diagnosis."""

    def run(check: Check) -> None:
        __tracebackhide__ = True
        if check.layer == "tpu" and platform_of(request.config) != "tpu":
            pytest.skip("needs a TPU, and this machine has none: this check runs the tutorial itself with gemma_7b_en")
        if not check.is_available:
            pytest.skip(f"{WITHOUT_LIBTPU}. {install_libtpu()}")
        runner = request.config.stash[RUNNER]
        with waiting_line(request.config, runner):
            verdict = runner.run(request.config.getoption("--impl"), check)
        keep(request.node, verdict)
        if verdict.diagnosis is None:
            return
        diagnosis = verdict.diagnosis
        first = _shown.setdefault((check.exercise, diagnosis), request.node.nodeid)
        if verdict.is_open or first == request.node.nodeid:
            text = verdict.for_terminal()
        else:
            text = f"{diagnosis.code}: same as in {first}"
        pytest.fail(text, pytrace=False)

    return run
