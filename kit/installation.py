"""How this copy of the kit was installed, and commands that work with it. Imports no framework."""

import json
import re
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path

#: The name of the package, as pip knows it.
DISTRIBUTION = "gemma-sharding-kit"
KIT_FOLDER = Path(__file__).resolve().parent


def clone() -> Path | None:
    """The repository that this copy of the kit runs from; None if it was installed as a wheel."""
    root = KIT_FOLDER.parent
    return root if all((root / name).is_file() for name in ("pyproject.toml", "constraints.txt")) else None


def program(name: str) -> str:
    """The command for a program of the kit's environment, such as ``pytest``.

    It is the name alone if the shell finds the program of this environment by it, as in an
    activated one, and not the same program of another environment.
    """
    found = shutil.which(name)
    if found is not None and Path(found).resolve().parent == Path(sys.executable).parent.resolve():
        return name
    return f"{shlex.quote(sys.executable)} -m {name}"


def is_temporary() -> bool:
    """Whether this environment is one of uvx, which is on the path of one command only."""
    return re.search(r"/archive-v\d+/", sys.executable) is not None


def activation() -> str | None:
    """The command that puts the kit's programs on the path; None if they are, or cannot be."""
    if is_temporary():
        return f"uv tool install {shlex.quote(DISTRIBUTION + _source())}"
    script = Path(sys.executable).parent / "activate"
    return f"source {shlex.quote(str(script))}" if program("kit") != "kit" and script.is_file() else None


def install_command(extra: str = "") -> str:
    """The command that installs what the kit requires, with the packages of an extra.

    It works in the current folder.
    """
    root = clone()
    if root is None:
        return f"{program('pip')} install {shlex.quote(_with_extra(DISTRIBUTION, extra))}"
    here = root == Path.cwd().resolve()
    constraints = "constraints.txt" if here else str(root / "constraints.txt")
    kit = _with_extra("." if here else str(root), extra)
    return f"{program('pip')} install -c {shlex.quote(constraints)} -e {shlex.quote(kit)}"


def new_environment_command(environment: str, extra: str = "") -> str:
    """The command that installs this kit in a new environment; ``environment`` is its folder."""
    root = clone()
    if root is None:
        kit = shlex.quote(_with_extra(DISTRIBUTION, extra) + _source())
    else:
        kit = f"-c {shlex.quote(str(root / 'constraints.txt'))} -e {shlex.quote(_with_extra(str(root), extra))}"
    return f"python3 -m venv --without-pip {environment} && python3 -m pip --python {environment} install {kit}"


def _with_extra(name: str, extra: str) -> str:
    return f"{name}[{extra}]" if extra else name


def _source() -> str:
    """Where pip got the wheel, as in a requirement; empty if that was an index."""
    try:
        recorded = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return ""
    return f" @ {json.loads(recorded)['url']}" if recorded else ""
