"""What `kit doctor` finds on machines that look like Colab and Kaggle; nothing without evidence."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.doctor.finding import Finding
from kit.doctor.notebooks import (
    Machine,
    examine_owner,
    examine_secrets,
    examine_service,
    examine_versions,
    examine_visible,
    installed_requirements,
)
from kit.installation import install_command

COLAB = {"COLAB_RELEASE_TAG": "release-colab_20261101-060000", "COLAB_TPU_1VM": "1"}
KAGGLE = {"KAGGLE_KERNEL_RUN_TYPE": "Interactive", "KAGGLE_URL_BASE": "https://www.kaggle.com"}
REQUIREMENTS = ["jax>=0.10", "keras>=3.14", "numpy>=2.0", 'jax[tpu]; extra == "tpu"']


def machine(root: Path, environment: dict[str, str], chips: int = 0, device: str = "dev/vfio") -> Machine:
    """A machine whose files are in ``root``; this process has the number 100."""
    for number in range(chips):
        (root / device).mkdir(parents=True, exist_ok=True)
        (root / device / str(number)).touch()
    (root / "dev").mkdir(exist_ok=True)
    return Machine(environment, root, process=100)


def opened(root: Path, process: int, target: str, command: str) -> None:
    """Let a process have a file open."""
    (root / "proc" / str(process) / "fd").mkdir(parents=True)
    (root / "proc" / str(process) / "fd" / "7").symlink_to(target)
    (root / "proc" / str(process) / "cmdline").write_text(command.replace(" ", "\0") + "\0")


def only(findings: Iterator[Finding]) -> Finding:
    (found,) = findings
    assert found.remedy
    assert "\n" not in found.found + found.remedy
    return found


def test_another_machine_has_no_findings(tmp_path: Path) -> None:
    plain = machine(tmp_path, {"HOME": "/root"})
    assert plain.service is None
    assert not [*examine_service(plain), *examine_owner(plain), *examine_visible(plain, 0)]
    assert not list(examine_secrets(plain, False, False))
    versions = {"jax": "0.10.2", "keras": "3.15.1", "numpy": "2.0"}
    assert not list(examine_versions(versions, REQUIREMENTS[:3], plain))


@pytest.mark.parametrize(
    ("environment", "name", "remedy"),
    [(COLAB, "Colab", "Runtime, Change runtime type"), (KAGGLE, "Kaggle", "Settings, Accelerator")],
)
def test_a_session_without_an_accelerator(tmp_path: Path, environment: dict[str, str], name: str, remedy: str) -> None:
    service, accelerator = examine_service(machine(tmp_path, environment))
    assert (service.subject, service.state) == ("notebook service", "good")
    assert service.found.startswith(f"{name} (")
    assert (accelerator.state, accelerator.found) == ("missing", f"this session of {name} has none")
    assert remedy in accelerator.remedy


@pytest.mark.parametrize("device", ["dev/vfio", "dev"])
def test_a_session_with_an_accelerator(tmp_path: Path, device: str) -> None:
    found = machine(tmp_path, KAGGLE)
    (tmp_path / device).mkdir(exist_ok=True)
    (tmp_path / device / ("0" if device == "dev/vfio" else "nvidia0")).touch()
    assert [finding.subject for finding in examine_service(found)] == ["notebook service"]


@pytest.mark.parametrize("environment", [COLAB, KAGGLE])
def test_the_image_has_an_old_jax(tmp_path: Path, environment: dict[str, str]) -> None:
    found = only(
        examine_versions(
            {"jax": "0.7.2", "keras": "3.13.2", "numpy": "2.0.2"}, REQUIREMENTS[:3], machine(tmp_path, environment)
        )
    )
    assert (found.state, found.found) == ("broken", "jax 0.7.2, needs >=0.10; keras 3.13.2, needs >=3.14")
    assert "python3 -m venv --without-pip ~/kit-env" in found.remedy
    assert "a notebook that does not import jax" in found.remedy


def test_an_old_package_elsewhere(tmp_path: Path) -> None:
    found = only(examine_versions({"jax": "0.9.1"}, REQUIREMENTS[:3], machine(tmp_path, {})))
    assert found.remedy == install_command()


def test_this_environment_is_as_new_as_the_kit_needs(tmp_path: Path) -> None:
    installed, requirements = installed_requirements()
    assert installed
    assert len(requirements) == len(installed)
    assert not list(examine_versions(installed, requirements, machine(tmp_path, {})))


def test_the_kernel_of_the_notebook_uses_the_tpu(tmp_path: Path) -> None:
    here = machine(tmp_path, KAGGLE, chips=8)
    opened(tmp_path, 100, "/dev/vfio/0", "python kit doctor")
    opened(tmp_path, 42, "/dev/vfio/3", "/usr/bin/python3 -m ipykernel_launcher -f kernel.json")
    opened(tmp_path, 43, "/dev/null", "bash")
    found = only(examine_owner(here))
    assert found.state == "broken"
    assert found.found.startswith("process 42 (/usr/bin/python3 -m ipykernel_launcher")
    assert "restart the kernel and do not import jax in it" in found.remedy


def test_files_of_others_without_a_tpu_are_no_finding(tmp_path: Path) -> None:
    here = machine(tmp_path, COLAB)
    opened(tmp_path, 42, "/dev/vfio/3", "python")
    assert not list(examine_owner(here))


def test_one_core_of_eight_because_of_variables(tmp_path: Path) -> None:
    variables = {"TPU_VISIBLE_CHIPS": "0", "TPU_PROCESS_ADDRESSES": "local"}
    here = machine(tmp_path, KAGGLE | variables, chips=8)
    found = only(examine_visible(here, 1))
    assert found.found == "jax sees 1 of 8: TPU_VISIBLE_CHIPS=0, TPU_PROCESS_ADDRESSES=local"
    assert found.remedy == "unset TPU_VISIBLE_CHIPS TPU_PROCESS_ADDRESSES, and start again"
    # With all of them visible, or two cores a chip, the variables do no harm.
    assert not list(examine_visible(here, 8))
    assert not list(examine_visible(here, 16))


def test_one_core_of_eight_without_a_known_cause(tmp_path: Path) -> None:
    found = only(examine_visible(machine(tmp_path, KAGGLE, chips=8), 1))
    assert found.found == "jax sees 1 of 8"
    assert "end all other processes that use the TPU" in found.remedy


def test_secrets_of_colab(tmp_path: Path) -> None:
    face, kaggle = examine_secrets(machine(tmp_path, COLAB), has_kaggle=False, has_token=False)
    assert "os.environ['HF_TOKEN'] = userdata.get('HF_TOKEN')" in face.remedy
    assert (
        "os.environ['KAGGLE_USERNAME'] = userdata.get('KAGGLE_USERNAME')`, and the same for KAGGLE_KEY" in kaggle.remedy
    )
    assert not list(examine_secrets(machine(tmp_path, COLAB), has_kaggle=True, has_token=True))


def test_secrets_of_kaggle(tmp_path: Path) -> None:
    """A notebook on Kaggle needs no credentials for Kaggle."""
    found = only(examine_secrets(machine(tmp_path, KAGGLE), has_kaggle=False, has_token=False))
    assert found.subject == "Hugging Face secret"
    assert "os.environ['HF_TOKEN'] = UserSecretsClient().get_secret('HF_TOKEN')" in found.remedy
    assert not list(examine_secrets(machine(tmp_path, KAGGLE), has_kaggle=False, has_token=True))
