"""What `kit doctor` knows of notebooks on Colab and Kaggle, and of a TPU that others use too.

Each check takes the machine's environment variables and files, and finds nothing where it has no
evidence. **Not verified on Colab or Kaggle**: their variables are those that other projects print.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from kit.doctor.finding import Finding
from kit.installation import DISTRIBUTION, install_command, new_environment_command

Service = Literal["Colab", "Kaggle"]

_SERVICE_VARIABLES: dict[str, Service] = {"COLAB_RELEASE_TAG": "Colab", "KAGGLE_KERNEL_RUN_TYPE": "Kaggle"}
#: Variables with which libtpu gives a process a part of the chips.
_PARTS_OF_A_TPU = (
    *("TPU_VISIBLE_CHIPS", "TPU_VISIBLE_DEVICES", "TPU_PROCESS_BOUNDS", "TPU_CHIPS_PER_PROCESS_BOUNDS"),
    *("TPU_PROCESS_ADDRESSES", "TPU_PROCESS_PORT", "CLOUD_TPU_TASK_ID"),
)
_ACCELERATOR_REMEDY: dict[Service, str] = {
    "Colab": "choose v5e-1 TPU or T4 GPU in Runtime, Change runtime type; the session starts over",
    "Kaggle": "choose TPU v5e-8 or GPU T4 x2 in Settings, Accelerator, which needs an account with a verified phone "
    "number; the session starts over",
}
_SECRETS_REMEDY: dict[Service, str] = {
    "Colab": "add {name} in Secrets (the key on the left) with notebook access, then run in a cell before `!kit run`: "
    "`import os; from google.colab import userdata; os.environ['{name}'] = userdata.get('{name}')`",
    "Kaggle": "add {name} in Add-ons, Secrets, then run in a cell before `!kit run`: `import os; from kaggle_secrets "
    "import UserSecretsClient; os.environ['{name}'] = UserSecretsClient().get_secret('{name}')`",
}


@dataclass(frozen=True)
class Machine:
    """What the checks look at."""

    environment: Mapping[str, str]
    #: The folder with ``dev`` and ``proc``.
    root: Path = Path("/")
    #: Process id of this process, which may use the TPU.
    process: int = os.getpid()

    @property
    def service(self) -> Service | None:
        """The service that runs this machine, if it is one of the two."""
        return next((name for variable, name in _SERVICE_VARIABLES.items() if variable in self.environment), None)

    @property
    def tpu_chips(self) -> list[Path]:
        """The device files of TPU chips."""
        return sorted([*self.root.glob("dev/accel[0-9]*"), *self.root.glob("dev/vfio/[0-9]*")])

    @property
    def has_gpu(self) -> bool:
        """Whether there is a device file of an NVIDIA GPU."""
        return any(self.root.glob("dev/nvidia[0-9]*"))


def examine_service(machine: Machine) -> Iterator[Finding]:
    """Which service this is, and whether the session has an accelerator."""
    if machine.service is None:
        return
    release = machine.environment.get("COLAB_RELEASE_TAG") or machine.environment.get("KAGGLE_KERNEL_RUN_TYPE", "")
    yield Finding("notebook service", "good", f"{machine.service} ({release})")
    if not machine.tpu_chips and not machine.has_gpu:
        remedy = _ACCELERATOR_REMEDY[machine.service]
        yield Finding("accelerator", "missing", f"this session of {machine.service} has none", remedy)


def examine_versions(installed: Mapping[str, str], requirements: list[str], machine: Machine) -> Iterator[Finding]:
    """Installed packages that are older than the kit needs, as in the images of both services."""
    old = []
    for requirement in map(Requirement, requirements):
        version = installed.get(requirement.name)
        if version and not requirement.marker and not requirement.specifier.contains(version, prereleases=True):
            old.append(f"{requirement.name} {version}, needs {requirement.specifier}")
    if old:
        remedy = _own_environment() if machine.service else install_command()
        yield Finding("versions", "broken", "; ".join(old), remedy)


def _own_environment() -> str:
    return (
        "the preinstalled packages are too old, so install the kit in an environment of its own, "
        f"`{new_environment_command('~/kit-env', 'tpu')}`, and run `!~/kit-env/bin/kit run` in a notebook that does "
        "not import jax"
    )


def installed_requirements() -> tuple[dict[str, str], list[str]]:
    """The versions of the packages that the kit requires, and its requirements."""
    try:
        requirements = [line for line in metadata.requires(DISTRIBUTION) or [] if "extra ==" not in line]
    except metadata.PackageNotFoundError:  # from a folder, without installation
        return {}, []
    installed = {}
    for requirement in requirements:
        name = Requirement(requirement).name
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed, requirements


def examine_owner(machine: Machine) -> Iterator[Finding]:
    """Another process that uses the TPU, such as the kernel of a notebook that imported jax."""
    owners = {}
    chips = {str(chip) for chip in machine.tpu_chips}
    for link in machine.root.glob("proc/[0-9]*/fd/*") if chips else ():
        try:
            target = os.readlink(link)
        except OSError:  # it has just ended, or belongs to another user
            continue
        process = int(link.parts[-3])
        if str(machine.root / target.lstrip("/")) in chips and process != machine.process:
            owners[process] = _command(link.parents[1])
    for process, command in owners.items():
        yield Finding(
            "TPU",
            "broken",
            f"process {process} ({command}) uses it, and a TPU belongs to one process",
            "shut that process down; of a notebook, restart the kernel and do not import jax in it",
        )


def _command(folder: Path) -> str:
    try:
        words = (folder / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return "unknown"
    return " ".join(words).strip()[:60]


def examine_visible(machine: Machine, seen: int) -> Iterator[Finding]:
    """Chips that jax does not see; ``seen`` is the number of TPU devices in this process."""
    there = len(machine.tpu_chips)
    if not 0 < seen < there:
        return
    found = f"jax sees {seen} of {there}"
    variables = [f"{name}={machine.environment[name]}" for name in _PARTS_OF_A_TPU if name in machine.environment]
    if variables:
        names = " ".join(variable.partition("=")[0] for variable in variables)
        remedy = f"unset {names}, and start again"
        yield Finding("TPU chips", "broken", f"{found}: {', '.join(variables)}", remedy)
    else:
        yield Finding(
            "TPU chips",
            "broken",
            found,
            "end all other processes that use the TPU, or restart the session; then run `kit doctor` again",
        )


def examine_secrets(machine: Machine, has_kaggle: bool, has_token: bool) -> Iterator[Finding]:
    """Credentials that the notebook has not passed on: `!kit` cannot read the services' secrets."""
    if machine.service is None:
        return
    remedy = _SECRETS_REMEDY[machine.service]
    if not has_token:
        found = "HF_TOKEN is not set, which --preset hf:// needs"
        yield Finding("Hugging Face secret", "missing", found, remedy.format(name="HF_TOKEN"))
    if machine.service == "Colab" and not has_kaggle:
        yield Finding(
            "Kaggle secrets",
            "missing",
            "KAGGLE_USERNAME and KAGGLE_KEY are not set, which presets such as gemma_7b_en need",
            remedy.format(name="KAGGLE_USERNAME") + ", and the same for KAGGLE_KEY",
        )
