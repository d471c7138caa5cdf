"""The reports in a browser: wide, narrow, in print, by keyboard, and for a screen reader."""

import itertools
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser, browser, find_chromium
from made_run import EVIDENCE, made_run
from made_verdicts import made_verdicts

import kit
from kit.checks.diagnosis import Failed
from kit.course.catalogue import catalogue
from kit.course.grading import ClassGrades, Finding, Grade
from kit.course.prediction_record import keep
from kit.course.predictions import questions
from kit.course.results import Result, ResultsFile, module_hash
from kit.course.workspace import Workspace, stub
from kit.report.check_page import write_check_page
from kit.report.class_report import render as render_class
from kit.report.course_report import write_course_report
from kit.report.run_report import write_report
from kit.run.finished import open_finished_run

#: In CSS pixels: a desktop, a phone, and the narrowest page that WCAG 2.1 requires (1.4.10).
WIDTHS = (1280, 390, 320)
SCHEMES = ("light", "dark")
#: A folder with npm's axe-core, to check its rules too.
AXE = os.environ.get("AXE_CORE", "")

# The contrast of each text with its background: in a picture the last rectangle below it.
CONTRASTS = """
(() => {
  const parse = colour => { const c = colour.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
  const luminance = c => {
    const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  const below = text => {
    const box = text.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
    let found = null;
    for (const rect of text.ownerSVGElement.querySelectorAll('rect')) {
      const b = rect.getBoundingClientRect();
      const follows = rect.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING;
      if (follows && b.left <= x && x <= b.right
          && b.top <= y && y <= b.bottom)
        found = rect;
    }
    return found ? parse(getComputedStyle(found).fill) : ground(text);
  };
  const rows = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || ['TITLE', 'DESC', 'STYLE'].includes(element.tagName.toUpperCase())) continue;
    const drawn = element.tagName === 'text';
    const colour = parse(drawn ? getComputedStyle(element).fill : getComputedStyle(element).color);
    rows.push(['text', node.data.trim().slice(0, 30), ratio(colour, drawn ? below(element) : ground(element))]);
  }
  for (const line of document.querySelectorAll('.chart .each, .chart .smooth, .chart .resumed'))
    rows.push(['line', line.getAttribute('class'), ratio(parse(getComputedStyle(line).stroke), ground(line))]);
  const fill = element => parse(getComputedStyle(element).fill);
  for (const bar of document.querySelectorAll('.bars .held'))
    rows.push(['line', 'bar', ratio(fill(bar), fill(bar.previousElementSibling))]);
  return rows;
})()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "run"
    held = {f"cpu:{number}": 6000 + 1000 * number for number in range(8)}
    return write_report(made_run(folder, resumed=(10,), nbytes_per_device=held, training_evidence=EVIDENCE))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = find_chromium()
    if found is None:
        pytest.skip("no browser: apt-get install chromium")
    with browser(found, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def faults(chromium: Browser, texts: int = 300, lines: int = 4 + 8) -> list[str]:
    """Texts and lines with too little contrast, and elements that are wider than the page."""
    found = chromium.evaluate(CONTRASTS)
    assert sum(kind == "text" for kind, _, _ in found) > texts
    assert sum(kind == "line" for kind, _, _ in found) == lines
    least = {"text": 4.5, "line": 3.0}
    weak = [f"{kind} {name}: {contrast:.2f}" for kind, name, contrast in found if contrast < least[kind]]
    wide = chromium.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return weak + ([f"{wide} pixels too wide"] if wide > 0 else [])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_is_legible(chromium: Browser, page: Path, width: int, scheme: str) -> None:
    chromium.open(page, width, scheme)
    chromium.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    ground = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is (scheme == "light")
    assert faults(chromium) == []
    # Pictures shrink with the page; their letters must stay readable.
    scale = chromium.evaluate(
        "Math.min(...[...document.querySelectorAll('.card > svg')].map(svg => svg.getScreenCTM().a))"
    )
    assert 10.5 * scale > 8


def test_illegible_elements_are_found(chromium: Browser, page: Path) -> None:
    chromium.open(page, 390)
    style = "document.head.insertAdjacentHTML('beforeend', '<style>{}</style>')"
    chromium.evaluate(style.format(".muted { color: #999; } .c5 { fill: #333 } .bars .held { fill: #eee }"))
    chromium.evaluate("document.querySelector('footer').style.width = '500px'")
    found = faults(chromium)
    assert any("Kernel" in fault or "24 November" in fault for fault in found)
    assert any(fault.startswith("line bar") for fault in found)
    assert any(fault.endswith("pixels too wide") for fault in found)


def test_nothing_leaves_the_page(chromium: Browser, page: Path) -> None:
    chromium.open(page, 1280)
    chromium.evaluate("new Promise(done => setTimeout(done, 200))")
    requests = [event for event in chromium.events if event.get("method") == "Network.requestWillBeSent"]
    asked = [request["params"]["request"]["url"] for request in requests]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    # The page was refused nothing, and tried to run no script.
    faults = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}
    assert not [event for event in chromium.events if event.get("method") in faults]


def text_of(node: dict[str, Any], key: str) -> str:
    return str(node.get(key, {}).get("value", ""))


def test_for_a_screen_reader(chromium: Browser, page: Path) -> None:
    chromium.open(page, 390)
    nodes = [node for node in chromium.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    by_role: dict[str, list[dict[str, Any]]] = {}
    for node in nodes:
        by_role.setdefault(text_of(node, "role"), []).append(node)
    assert [len(by_role[role]) for role in ("banner", "navigation", "main", "contentinfo")] == [1, 1, 1, 1]
    assert text_of(by_role["navigation"][0], "name") == "Contents"
    levels = chromium.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(heading => +heading.tagName[1])"
    )
    assert len(by_role["heading"]) == len(levels)
    assert levels[:3] == [1, 2, 2]
    # No level is skipped.
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert levels.count(2) == 10
    images = by_role.get("image", by_role.get("img", []))
    pictures = {text_of(node, "name"): text_of(node, "description") for node in images}
    assert len(pictures) == 2 + 7
    assert "to -3.9300 after 40" in pictures["Log-likelihood of held-out reviews along the training"]
    assert "Smoothed from 3.98" in pictures["Loss of each step"]
    assert "A: cpu:0, cpu:4." in pictures["token_embedding/embeddings over the mesh"]
    tables = [text_of(node, "name") for node in by_role["table"]]
    assert "What each rule of the layout map matches" in tables
    assert all(tables)
    assert len(by_role["rowheader"]) > 30
    assert len(by_role["columnheader"]) > 20
    # Marks and colours have words beside them.
    cells = " ".join(text_of(node, "name") for node in by_role["cell"] + by_role["rowheader"])
    assert all(word in cells for word in ("matches nothing", "large and replicated", "review", "neither"))
    assert "⚠" not in " ".join(text_of(node, "name") for node in by_role["StaticText"])


def test_the_keyboard_reaches_everything(chromium: Browser, page: Path) -> None:
    chromium.open(page, 390)
    focused = """(() => {
      const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at);
      const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
      return [at.tagName, at.textContent.trim(), box.left >= 0, outlined];
    })()"""
    chromium.press("Tab", 9)
    # The link that is hidden until it has the focus.
    assert chromium.evaluate(focused) == ["A", "Skip to the report", True, True]
    chromium.press("Enter", 13, "\r")
    assert chromium.evaluate("location.hash") == "#content"
    chromium.press("Tab", 9)
    assert chromium.evaluate(focused) == ["SUMMARY", "The loss as a table", True, True]
    chromium.press("Enter", 13, "\r")
    assert chromium.evaluate("document.activeElement.parentElement.open") is True
    # Each link and summary gets the focus in turn, with an outline.
    stops = 1
    while stops < 100:
        chromium.press("Tab", 9)
        name, _, within, outlined = chromium.evaluate(focused)
        if name == "BODY":
            break
        assert within
        assert outlined
        stops += 1
    assert stops == chromium.evaluate("document.querySelectorAll('main a, main summary').length") == 2 + 7 + 3


def test_print(chromium: Browser, page: Path) -> None:
    chromium.open(page, 1280, "dark")
    printed = chromium.print()
    assert printed.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 4 <= pages <= 12
    chromium.call(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    # Paper is white; folded tables are printed, and the navigation is not.
    assert chromium.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--page')") == "#ffffff"
    assert chromium.evaluate("document.querySelector('nav').checkVisibility()") is False
    tables = (
        "[...document.querySelectorAll('details table')]"
        ".map(table => table.checkVisibility() && table.getBoundingClientRect().height)"
    )
    assert len(heights := chromium.evaluate(tables)) == 2 + 7
    assert min(heights) > 30
    chromium.call("Emulation.setEmulatedMedia", media="", features=[])


@pytest.mark.skipif(not AXE, reason="needs axe-core: npm pack axe-core, and AXE_CORE=FOLDER")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_rules_of_axe(chromium: Browser, page: Path, scheme: str) -> None:
    chromium.open(page, 390, scheme)
    chromium.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    chromium.evaluate((Path(AXE) / "axe.min.js").read_text(encoding="utf-8"))
    answer = chromium.evaluate("axe.run(document)")
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in answer["violations"]] == []
    assert len(answer["passes"]) > 30


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_of_a_class_is_legible(chromium: Browser, class_page: Path, width: int, scheme: str) -> None:
    chromium.open(class_page, width, scheme)
    chromium.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert faults(chromium, texts=100, lines=0) == []
    # A table or diagnostic that is wider than a phone scrolls, by keyboard too.
    wide = chromium.evaluate(
        "[...document.querySelectorAll('.wide, pre')]"
        ".filter(part => part.scrollWidth > part.clientWidth).map(part => part.tabIndex)"
    )
    assert set(wide) == {0} or (width == 1280 and not wide)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_of_a_check_is_legible(chromium: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    write_check_page(tmp_path / "check.html", made_verdicts(), ["Next: run `kit check mesh` again."])
    chromium.open(tmp_path / "check.html", width, scheme)
    chromium.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert faults(chromium, texts=20, lines=0) == []
    if AXE:
        chromium.evaluate((Path(AXE) / "axe.min.js").read_text(encoding="utf-8"))
        assert [rule["id"] for rule in chromium.evaluate("axe.run(document)")["violations"]] == []


@pytest.fixture(scope="module")
def course_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some predictions, a failed check, and a run."""
    folder = tmp_path_factory.mktemp("course")
    workspace = Workspace(folder / "exercises")
    workspace.folder.mkdir()
    for name in catalogue().names:
        workspace.file_of(name).write_text(stub(name) + "# begun\n")
    for name in ("mesh", "layout", "lora"):
        for question in questions(name):
            keep(workspace, name, question, 2.0, 2_000_000.0)
    module = module_hash(workspace.folder, "layout")
    cause = "28 matrices of Gemma 7B are replicated on the mesh (1, 8): 8.46 GB on each device."
    failed = Result(
        "failed", "LAYOUT_MATRIX_REPLICATED", cause, 1.0, "2026-11-28T01:58:50+00:00", module, kit.__version__
    )
    ResultsFile(workspace).write({"layout": {"collective_bytes": failed}})
    run = open_finished_run(str(made_run(folder / "run", resumed=(10,), training_evidence=EVIDENCE)))
    return write_course_report(workspace, "exercises", run, datetime(2026, 11, 28, tzinfo=UTC))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_of_a_course_is_legible(chromium: Browser, course_page: Path, width: int, scheme: str) -> None:
    chromium.open(course_page, width, scheme)
    chromium.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert faults(chromium, texts=300, lines=3) == []


@pytest.mark.skipif(not AXE, reason="needs axe-core: npm pack axe-core, and AXE_CORE=FOLDER")
def test_the_rules_of_axe_for_a_course(chromium: Browser, course_page: Path) -> None:
    chromium.open(course_page, 390)
    chromium.evaluate((Path(AXE) / "axe.min.js").read_text(encoding="utf-8"))
    answer = chromium.evaluate("axe.run(document)")
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in answer["violations"]] == []


@pytest.fixture(scope="module")
def class_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty learners in all exercises; every third made a mistake in each."""
    diagnosis = Failed(
        "LAYOUT_MATRIX_REPLICATED",
        "28 matrices of Gemma 7B are replicated on the mesh (1, 8): 8.46 GB on each device.",
        ("your rule", "matches"),
        [("decoder_block.*attention.*(query|key|value)/kernel", "84 variables, 4.23 GB")],
    ).diagnosis
    names = catalogue().names

    def grade(exercise: str, number: int) -> Grade:
        if number % 3 == 0:
            return Grade(exercise, "wrong", 6, (Finding("layers", "Something is asked.", diagnosis),))
        return Grade(exercise, "right" if number % 3 == 1 else "to do", 6)

    grades = {f"learner-{number:02}": {name: grade(name, number) for name in names} for number in range(30)}
    file = tmp_path_factory.mktemp("class") / "class.html"
    page = render_class("of thirty", ClassGrades(names, grades, {}), datetime(2026, 11, 27, tzinfo=UTC))
    file.write_text(page, encoding="utf-8")
    return file
