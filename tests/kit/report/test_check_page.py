"""The page of `kit check`."""

import re
from pathlib import Path

from made_verdicts import checks_of, made_verdicts

from kit.checks.diagnosis import Diagnosis
from kit.judge.runner import Verdict
from kit.report.check_page import render, write_check_page


def test_a_diagnostic_with_its_evidence_and_its_section_of_the_lesson(tmp_path: Path) -> None:
    write_check_page(tmp_path / "mesh.html", made_verdicts(), ["Next: run `kit check mesh` again."])
    page = (tmp_path / "mesh.html").read_text()
    assert "<h1>mesh: 2 passed, 2 failed</h1>" in page
    # Once, although two checks give it.
    assert page.count(">MESH_WRONG_SHAPE</h2>") == 1
    assert "returned &lt;a mesh&gt; of shape (8, 1)." in page
    assert re.findall(r'<td class="path">([^<]*)</td>', page) == ["shape", "(1, 8)", "(8, 1)"]
    assert "the size <code>batch</code> and" in page
    assert "<summary>Read: kit lesson mesh &#34;The grid&#34;</summary>" in page
    assert "<p>The order of the axes is a convention" in page
    assert "what was printed" in page
    assert '<p class="next">Next: run <code>kit check mesh</code> again.</p>' in page


def test_what_is_not_written_is_no_mistake() -> None:
    check = checks_of("lora")[0]
    cause = "exercises/lora.py::enable_lora; `kit hint lora`"
    page = render([Verdict(check, Diagnosis("NOT_IMPLEMENTED", cause))], ["Next: write enable_lora."])
    assert "<h1>lora: 1 to do</h1>" in page
    assert 'class="diagnostic"' not in page
    assert "NOT_IMPLEMENTED</span>: exercises/lora.py::enable_lora; <code>kit hint lora</code>" in page


def test_backticks_that_do_not_match_are_text() -> None:
    page = render([Verdict(checks_of("mesh")[0], None)], ["A lone ` and <b>"])
    assert '<p class="next">A lone ` and &lt;b&gt;</p>' in page
