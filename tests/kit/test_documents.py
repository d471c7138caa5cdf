"""What the documents say is there."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path for path in ROOT.glob("*.md"))


def quick_start() -> list[str]:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Quick start\n")[2]
    match = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert match is not None
    return match[1].splitlines()


def test_the_quick_start_is_two_lines() -> None:
    first, second = quick_start()
    assert first.endswith("kit run")
    assert second.endswith("pytest --impl=reference")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)", text, re.M)
    }
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    broken = [
        link
        for link in links
        if not link.startswith("https://")
        and not (link.startswith("#") and link[1:] in anchors)
        and not (not link.startswith("#") and (document.parent / link.partition("#")[0]).exists())
    ]
    assert not broken


@pytest.mark.parametrize(("name", "at_least"), [("run", 15), ("plan", 10)])
def test_every_option_is_in_the_readme(name: str, at_least: int) -> None:
    command = importlib.import_module(f"kit.cli.{name}").command
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
    assert len(options) > at_least
    assert not [option for option in options if f"`{option}" not in readme]


def test_every_marker_is_in_the_readme() -> None:
    from kit.checks.catalog import LAYERS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(LAYERS) >= 6
    assert not [layer for layer in LAYERS if f"| `{layer}` |" not in readme]


def test_every_exercise_is_in_the_readme_with_its_minutes() -> None:
    from kit.course.course import course

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for number, exercise in enumerate(course(), 1):
        assert re.search(rf"^\| {number} \| `{exercise.name}` \| .* \| {exercise.minutes} \|$", readme, re.M), (
            exercise.name
        )


def test_constraints_name_no_address() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert not [
        line
        for line in lines
        if not re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*(; python_version [<>=]+ \"3\.1\d\")?", line)
    ]
