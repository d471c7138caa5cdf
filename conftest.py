"""Options of the tests, and settings that must precede the import of jax. Imports no framework.

`pytest` checks the exercises, `pytest --impl=reference` the reference and the kit itself,
`pytest --impl=FOLDER` the modules of any folder. `-m long` selects the long tests, which are left
out otherwise.
"""

from collections.abc import Generator
from pathlib import Path

import pytest

from kit.course.catalogue import catalogue
from kit.errors import UserError
from kit.judge.catalogue import INSTALL_LIBTPU, LAYERS, Check, Judge
from kit.judge.runner import Runner
from kit.judge.waiting import waiting_line
from kit.parts.implementation import EXERCISES, REFERENCE, find_parts
from kit.runtime.platform import DEFAULT_SIMULATED_DEVICES, Platform, choose_platform_of_checks, prepare_environment

ROOT = Path(__file__).parent
KIT_TESTS = ROOT / "tests" / "kit"
EXERCISE_TESTS = ROOT / "tests" / "exercises"
RUNNER = pytest.StashKey[Runner]()
#: The beginning of the reason of a skipped check.
WITHOUT_LIBTPU = "needs the TPU compiler, which is in libtpu"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kit")
    group.addoption(
        "--impl",
        default=EXERCISES,
        help="What to check: exercises (yours), reference (the solution, and the kit itself), or a folder.",
    )
    group.addoption(
        "--platform",
        default="auto",
        help="auto (several TPU chips, else several GPUs, else cpu), cpu (8 simulated devices), gpu or tpu.",
    )


def _platform(config: pytest.Config) -> Platform:
    return choose_platform_of_checks(config.getoption("--platform"))


def pytest_configure(config: pytest.Config) -> None:
    for layer, answers in LAYERS.items():
        config.addinivalue_line("markers", f"{layer}: {answers}")
    config.addinivalue_line(
        "markers", "long: takes minutes; left out unless `-m` names it or `::` names a test; CI runs it"
    )
    config.addinivalue_line("markers", "libtpu: a test of the kit itself that needs the TPU compiler")
    config.addinivalue_line("markers", "browser: a test of the kit itself that needs Chromium")
    try:
        platform = _platform(config)
        prepare_environment(platform, DEFAULT_SIMULATED_DEVICES)
        find_parts(config.getoption("--impl"))
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    if not _tests_the_kit(config) and any(
        KIT_TESTS in (path := Path(arg.partition("::")[0]).resolve()).parents or path == KIT_TESTS
        for arg in config.args
    ):
        raise pytest.UsageError(
            "tests/kit has the tests of the kit itself, which need simulated devices: "
            "`pytest --impl=reference --platform=cpu tests/kit`."
        )
    _begin_to_import(config)


def _tests_the_kit(config: pytest.Config) -> bool:
    return bool(config.getoption("--impl") == REFERENCE) and _platform(config) == "cpu"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore the kit's own tests unless the reference is checked on simulated devices."""
    return True if collection_path == KIT_TESTS and not _tests_the_kit(config) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long tests out unless they are selected, and sort the tests.

    First the kit's own tests, then the exercises, the advanced ones after the others, and last the
    whole runs: what takes longest runs in other processes meanwhile.
    """
    named = any("::" in argument for argument in config.args)
    if not (named or "long" in config.getoption("markexpr")):
        long = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)
    advanced = [exercise.name for exercise in catalogue().exercises if exercise.advanced]
    items.sort(
        key=lambda item: (
            item.get_closest_marker("style") is not None,
            KIT_TESTS not in item.path.parents,
            item.path.parent == EXERCISE_TESTS and item.path.stem.removeprefix("test_") in advanced,
        )
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start to import the libraries in another process, unless only stubs are checked."""
    config = session.config
    if config.getoption("collectonly"):
        return
    runner = config.stash.setdefault(RUNNER, Runner(catalogue(), _platform(config)))
    checks = [
        item.callspec.params["check"]
        for item in session.items
        if "check" in getattr(item, "fixturenames", ()) and item.callspec.params["check"].is_available
    ]
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
    whole = any(path in (ROOT, EXERCISE_TESTS.parent, EXERCISE_TESTS) for path in paths)
    named = [path.stem.removeprefix("test_") for path in paths if path.parent == EXERCISE_TESTS]
    runner = Runner(catalogue(), _platform(config))
    impl = config.getoption("--impl")
    for exercise in catalogue().names if whole else [name for name in named if name in catalogue().names]:
        if any(runner.needs_running(impl, check) for check in catalogue().checks_of(exercise)):
            config.stash[RUNNER] = runner
            runner.warm_up([exercise])
            return


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUNNER in config.stash:
        config.stash[RUNNER].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give the summary the first line of a diagnostic.

    With CI set in the environment, pytest would repeat all of it.
    """
    report = yield
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and "check" in getattr(item, "fixturenames", ()):
        crash.message = crash.message.partition("\n")[0]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say that a layer was not checked: pytest counts its tests as skipped, without a reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = [report for report in skipped if WITHOUT_LIBTPU in str(report.longrepr)]
    if left_out:
        number = f"{len(left_out)} checks" if len(left_out) > 1 else "1 check"
        terminalreporter.write_line(
            f"Not checked: {number} of the layer tpu_compile, because libtpu is missing. {INSTALL_LIBTPU}", yellow=True
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
        if check.layer == "tpu" and _platform(request.config) != "tpu":
            pytest.skip("needs a TPU, and this machine has none: this check runs the tutorial itself with gemma_7b_en")
        if not check.is_available:
            pytest.skip(f"{WITHOUT_LIBTPU}. {INSTALL_LIBTPU}")
        runner = request.config.stash[RUNNER]
        with waiting_line(request.config, runner):
            verdict = runner.run(request.config.getoption("--impl"), check)
        if verdict.diagnosis is None:
            return
        diagnosis = verdict.diagnosis
        first = _shown.setdefault((check.exercise, diagnosis), request.node.nodeid)
        if diagnosis.code == "NOT_IMPLEMENTED" or first == request.node.nodeid:
            text = diagnosis.for_terminal(check.exercise)
            if verdict.output.strip() and diagnosis.code != "NOT_IMPLEMENTED":
                text += "\n\nprinted:\n" + verdict.output.strip()
        else:
            text = f"{diagnosis.code}: same as in {first}"
        pytest.fail(text, pytrace=False)

    return run
