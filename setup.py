"""Makes the README's links absolute, since an index shows it outside the repository.

Everything else is in pyproject.toml.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def with_absolute_links(readme: str, repository: str) -> str:
    """The README with links to the repository in place of relative ones."""

    def absolute(match: re.Match[str]) -> str:
        target = match[1]
        if re.match("[a-z]+:", target):
            return match[0]
        return f"]({repository}{target})" if target.startswith("#") else f"]({repository}/blob/HEAD/{target})"

    return re.sub(r"\]\(([^)\s]+)\)", absolute, readme)


with (ROOT / "pyproject.toml").open("rb") as file:
    urls = tomllib.load(file)["project"]["urls"]
setup(
    long_description=with_absolute_links((ROOT / "README.md").read_text(encoding="utf-8"), urls["Repository"]),
    long_description_content_type="text/markdown",
)
