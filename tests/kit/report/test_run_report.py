"""The report of a run: its content, its independence, and the errors for other folders."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_run import BLOCK, DEVICES, edited, made_generations, made_result, made_run, write

from kit.errors import UserError
from kit.report.completions import judged_prompts
from kit.report.loss_curve import loss_curve
from kit.report.run_report import device_names, write_report
from kit.run.finished import open_finished_run
from kit.run.generations import GENERATIONS_FILE, read_generations
from kit.run.json_records import as_json
from kit.run.metrics import read_metrics

VOID = {"meta", "link", "br", "wbr"}
REPLICATED = "Variables that each device holds completely (replicated), the largest first"
# Of SVG, written with a slash.
CLOSED = {"path", "line", "rect"}


class Page(HTMLParser):
    """A page as elements, texts and tables, and its errors of form."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        #: The rows of each table, by its caption.
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(file.read_text(encoding="utf-8"))
        self.close()
        if self.open:
            self.wrong.append(f"never closed: {self.open}")

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in CLOSED:
            self.wrong.append(f"<{tag}> without a slash")
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in CLOSED:
            self.wrong.append(f"<{tag}/>")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> where {self.open[-3:]} is open")
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.texts.append(data)
        if "caption" in self.open:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            self._rows[-1][-1] += data

    @property
    def text(self) -> str:
        """All texts, with single spaces."""
        return " ".join("".join(self.texts).split())

    def rows(self, caption: str) -> list[list[str]]:
        """The cells of a table, with single spaces."""
        return [[" ".join(cell.split()) for cell in row] for row in self.tables[caption]]


def report(folder: Path, **changes: Any) -> Page:
    return Page(write_report(made_run(folder, **changes)))


def test_the_page_is_well_formed_and_needs_nothing_else(run: Path) -> None:
    file = write_report(run)
    page = Page(file)
    assert not page.wrong
    assert len(page.elements) > 300
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    referred = [
        name
        for _, attributes in page.elements
        for name in (
            attributes.get("aria-labelledby"),
            attributes.get("aria-describedby"),
            attributes.get("href", "").partition("#")[2],
        )
        if name
    ]
    assert len(referred) > 20
    assert not set(referred) - set(identities)
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert not re.findall(r"https?:|@import|<script|<iframe|<img|\bon\w+=", text)
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#hatch"}
    links = [attributes["href"] for _, attributes in page.elements if "href" in attributes]
    # The empty icon keeps a browser from asking for one.
    assert {link[0] for link in links if link != "data:,"} == {"#"}
    assert "default-src 'none'" in text


def test_what_it_says(run: Path) -> None:
    page = Page(write_report(run))
    assert "Run of bundled" in page.text
    assert "The style has shifted to reviews." in page.text
    assert (
        "Of 3 prompts, 0 were answered with a review before training, and 1 after. "
        "The log-likelihood of reviews that the run did not train on (held-out reviews) changed by +0.0474 nats per "
        "token, that of lists by -0.5769." in page.text
    )
    assert "This run is not a control." in page.text
    assert page.rows("Trainable and all parameters")[1:] == [
        ["as loaded", "4,400", "4,400"],
        ["with LoRA of rank 4", "321", "4,721"],
    ]
    assert page.rows("The style classifier's verdict on each prompt")[1:] == [
        ["Best films", "≡ list", "¶ review"],
        ["Worst films", "≡ list", "✕ neither"],
        ["Other films", "≡ list", "≡ list"],
    ]
    assert "words: 90% typical of a review; their order: not typical of reviews (−∞ nats per word)" in page.text
    held = page.rows("Bytes on each device. The full width is the whole model.")[1:]
    assert held == [[device, "", "6.8 kB", "38.9%"] for device in DEVICES]
    settings = dict(page.rows("Settings")[1:])
    assert settings["--mesh"] == "2x4"
    assert settings["--prompt"] == '"Best films "'
    assert settings["--learning-rate"] == "0.005"
    assert page.rows("Versions")[1:] == [["python", "3.11.7"], ["keras", "3.15.1"]]
    assert ["the whole run", "27.0 s"] in page.rows("Time")
    assert ["resumed", "never"] in page.rows("Time")
    steps = page.rows("Loss of 11 of the 40 steps")[1:]
    assert steps[0] == ["1", "4.0000", "3.9800", "4.0000", "2.1"]
    assert steps[-1] == ["40", "3.2200", "3.2400", "3.6100", "6.0"]


def test_a_rule_that_matches_nothing_and_a_matrix_on_every_device_stand_out(run: Path) -> None:
    page = Page(write_report(run))
    rules = page.rows("What each rule of the layout map matches")[1:]
    assert rules[0] == ["token_embedding/embeddings", "(model, -)", "1", "2.0 kB"]
    assert rules[4] == ["decoder_block.*ffw_gating_two/kernel⚠ matches nothing", "(-, model)", "0", "0 B"]
    assert rules[5] == ["(no rule: replicated)", "", "5", "3.3 kB"]
    # The final scale's bytes are the sum less the others.
    assert page.rows(REPLICATED)[1:] == [
        ["decoder_block_N/ffw_gating_2/kernel⚠ large and replicated", "2", "3.1 kB", "17.45%"],
        ["decoder_block_N/pre_attention_norm/scale", "2", "128 B", "0.73%"],
        ["final_normalization/scale", "1", "64 B", "0.36%"],
    ]
    marked = [tag for tag, attributes in page.elements if attributes.get("class") == "stands-out"]
    assert marked == ["tr", "tr"]


def test_replicated_variables_that_the_run_recorded(run: Path) -> None:
    with edited(run / "run.json") as result:
        result["rule_coverage"]["replicated"] = [
            {"path": "token_embedding/embeddings", "bytes": 2048},
            {"path": "decoder_block_0/ffw_linear/kernel", "bytes": 1536},
            {"path": "decoder_block_1/ffw_linear/kernel", "bytes": 1536},
        ]
    assert [row[0].partition("⚠")[0] for row in Page(write_report(run)).rows(REPLICATED)[1:]] == [
        "decoder_block_N/ffw_linear/kernel",
        "token_embedding/embeddings",
    ]


def test_rules_that_also_match_adapters(run: Path) -> None:
    """Of rank 4 for query: A (4, 16, 4) is split by the rule, and no rule matches B (4, 6)."""
    with edited(run / "run.json") as result:
        coverage = result["rule_coverage"]
        coverage["rules"][1] |= {"variables": 4, "bytes": 3072 + 2048}
        coverage["unmatched"] += [f"decoder_block_{block}/attention/query/lora_kernel_b" for block in (0, 1)]
        coverage["unmatched_bytes"] += 192
        coverage["bytes"] += 2048 + 192
        coverage["bytes_per_device"] += 512 + 192
    page = Page(write_report(run))
    # The loaded model has no adapters yet, so they do not count.
    assert "each device holds 6.8 kB of the model's 17.6 kB" in page.text
    assert "The layout map predicted" not in page.text
    assert page.rows("What each rule of the layout map matches, LoRA adapters included")[2][2:] == ["4", "5.1 kB"]
    replicated = page.rows(REPLICATED)[1:]
    assert ["decoder_block_N/attention/query/lora_kernel_b⚠ large and replicated", "2", "192 B", "1.09%"] in replicated
    assert ["final_normalization/scale", "1", "64 B", "0.36%"] in replicated
    with edited(run / "run.json") as result:
        result["rule_coverage"]["loaded"] = {"bytes": 17600, "bytes_per_device": 6000}
    assert "The layout map predicted 6.0 kB per device." in Page(write_report(run)).text


def test_rules_over_an_axis_of_one_device_split_nothing(tmp_path: Path) -> None:
    page = report(tmp_path / "run", mesh={"batch": 8, "model": 1})
    rules = page.rows("What each rule of the layout map matches")[1:]
    assert [row[0].partition("⚠ ")[2] for row in rules] == [*["splits nothing"] * 4, "matches nothing", ""]
    # On one device nothing could be.
    page = report(tmp_path / "run", mesh={"batch": 1, "model": 1}, nbytes_per_device={"cpu:0": 17600})
    rules = page.rows("What each rule of the layout map matches")[1:]
    assert [row[0].partition("⚠ ")[2] for row in rules][:2] == ["", ""]


def test_the_three_styles_and_repetition(tmp_path: Path) -> None:
    made = made_result(tmp_path).style
    rows = report(tmp_path / "run").rows("Measures of style")
    assert ["neither, of 3 prompts", "0%", "33%"] in rows
    # An older run did not look for repetition.
    assert not any("repe" in row[0] for row in rows)
    after = replace(made.after, share_of_degenerate=1 / 3, share_of_repetitive=2 / 3)
    page = report(tmp_path / "repetitive", style=replace(made, after=after))
    rows = page.rows("Measures of style")
    assert ["neither, since empty or mostly repetition", "0%", "33%"] in rows
    assert ["completions that repeat six words in a row", "0%", "67%"] in rows
    assert "2 of the completions after training repeat six words in a row (0 before), and 1 are mostly" in page.text


def test_a_style_that_does_not_exist(run: Path) -> None:
    with edited(run / "generations.json") as generations:
        generations["after"][0]["style"] = "poem"
    refused(run, 'a style is "poem"')


@pytest.mark.parametrize("shifted", [False, True])
def test_a_control(tmp_path: Path, shifted: bool) -> None:
    style = replace(made_result(tmp_path).style, shifted=shifted)
    page = report(tmp_path / "run", control=True, style=style)
    assert "Control run of bundled" in page.text
    assert "This run is a control." in page.text
    assert ("A control run without a shift, as expected." in page.text) is not shifted
    assert ("A control run with a shift: it should have none." in page.text) is shifted
    assert ("proves nothing" in page.text) is shifted


def test_a_run_of_rank_0(run: Path) -> None:
    with edited(run / "run.json") as result:
        result["settings"]["rank"] = 0
        result["parameters"]["tuned"] = {"trainable": 4400, "total": 4400}
    page = Page(write_report(run))
    assert "all parameters trained" in page.text
    assert page.rows("Trainable and all parameters")[2] == ["as trained, without LoRA", "4,400", "4,400"]
    assert "LoRA of rank" not in page.text


def test_a_run_that_was_resumed(tmp_path: Path) -> None:
    page = report(tmp_path / "run", resumed=(0, 10, 30))
    assert "interrupted and resumed 3 times: after step 0, 10, 30." in page.text
    drawn = [attributes for tag, attributes in page.elements if tag == "line"]
    lines = [float(attributes["x1"]) for attributes in drawn if attributes.get("class") == "resumed"]
    # One is in the legend; nothing is drawn before the first step. Steps 1 to 40 span 1000 units.
    assert lines == [0, pytest.approx(1000 * 9 / 39, abs=0.1), pytest.approx(1000 * 29 / 39, abs=0.1)]
    assert "interrupted" not in report(tmp_path / "run", resumed=()).text


def test_devices_that_hold_different_amounts(tmp_path: Path) -> None:
    held = dict.fromkeys(DEVICES, 6848) | {"cpu:0": 17600}
    page = report(tmp_path / "run", nbytes_per_device=held)
    assert "a device holds 6.8 kB to 17.6 kB" in page.text
    assert "The layout map predicted 6.8 kB per device." in page.text
    assert "The layout map predicted" not in report(tmp_path / "run").text


def test_a_process_that_knows_its_own_devices(tmp_path: Path) -> None:
    page = report(tmp_path / "run", nbytes_per_device=dict.fromkeys(DEVICES[:4], 6848))
    assert "These are the 4 devices of the process that wrote the report; the mesh has 8." in page.text
    slices = page.rows("Slices of ffw_gating/kernel and their devices")[1:]
    assert slices[0] == ["A", "[0:16, 0:6]", "device 0, device 4"]


HOSTILE = "</dd></style><script>alert('1')</script><img src=x onerror=alert(2)>{{ 7 * 7 }} & \u202e"


def test_html_in_a_text_is_text(run: Path) -> None:
    with edited(run / "generations.json") as generations:
        generations["prompts"][0] = HOSTILE
        generations["after"][0]["text"] = HOSTILE + HOSTILE
    with edited(run / "run.json") as result:
        result |= {"preset": f"pre{HOSTILE}", "implementation": HOSTILE, "versions": {HOSTILE: HOSTILE}}
        result["settings"] |= {"prompt": HOSTILE, "data": HOSTILE}
        result["rule_coverage"]["rules"][3]["rule"] = HOSTILE
        result["sharding_of_decoder_block_1"][1][0] = f"decoder_block_1/{HOSTILE}"
        result["devices"]["kind"] = HOSTILE
        result["nbytes_per_device"] = {f"{HOSTILE}{name}": held for name, held in result["nbytes_per_device"].items()}
    page = Page(write_report(run))
    assert not page.wrong
    assert not {tag for tag, _ in page.elements} & {"script", "img"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    # As text, wherever it appears.
    assert "".join(page.texts).count(HOSTILE) > 10


def test_a_loss_that_is_not_finite(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[20] = lines[20].replace(f'"loss": {4.02 - 0.02 * 21}', '"loss": NaN')
    (run / "metrics.jsonl").write_text("\n".join(lines))
    page = Page(write_report(run))
    assert "1 step has a loss that is not finite." in page.text
    curve = loss_curve(read_metrics(run / "metrics.jsonl"), ())
    assert curve is not None
    # The line of the steps has a gap there; the smoothed line has none.
    assert (curve.path.count("M"), curve.smoothed_path.count("M")) == (2, 1)
    step = '{"step": 1, "loss": NaN, "mean_loss": NaN, "mean_accuracy": null, "seconds": 1}\n'
    (run / "metrics.jsonl").write_text(step)
    assert "No step has a finite loss." in Page(write_report(run)).text


@pytest.mark.parametrize("number", [1, 2])
def test_a_run_of_few_steps(run: Path, number: int) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()[:number]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    page = Page(write_report(run))
    assert not page.wrong
    assert [row[0] for row in page.rows(f"Loss of {number} of the {number} steps")] == ["step", "1", "2"][: number + 1]


def test_each_matrix_of_the_block_and_the_embeddings_are_drawn(run: Path) -> None:
    page = Page(write_report(run))
    drawn = [caption.split()[2] for caption in page.tables if caption.startswith("Slices of")]
    assert drawn == ["token_embedding/embeddings", *(path for path, _, _ in BLOCK)]
    first = page.rows("Slices of token_embedding/embeddings and their devices")[1]
    assert first == ["A", "[0:8, 0:16]", "cpu:0, cpu:4"]
    whole = page.rows("Slices of ffw_gating_2/kernel and their devices")[1]
    assert whole == ["whole", "[0:16, 0:24]", ", ".join(DEVICES)]
    assert "16 × 24 over (-, model): each device holds 384 B of 1.5 kB." in page.text


def test_embeddings_of_known_and_of_unknown_shape(run: Path) -> None:
    with edited(run / "run.json") as result:
        # With two variables under one rule, the bytes of each are unknown.
        result["rule_coverage"]["rules"][0]["variables"] = 2
    assert "The embeddings are not drawn" in Page(write_report(run)).text
    with edited(run / "run.json") as result:
        result["sharding_of_token_embedding"] = [["token_embedding/embeddings", [32, 16], [None, None]]]
    page = Page(write_report(run))
    assert "The embeddings are not drawn" not in page.text
    assert page.rows("Slices of token_embedding/embeddings and their devices")[1][0] == "whole"


def test_devices_in_the_order_of_the_mesh(tmp_path: Path) -> None:
    page = report(tmp_path / "run", mesh_devices=DEVICES[::-1])
    assert page.rows("Slices of ffw_gating/kernel and their devices")[1] == ["A", "[0:16, 0:6]", "cpu:7, cpu:3"]


def test_many_devices(tmp_path: Path) -> None:
    held = {f"tpu:{number}": 9000 for number in range(32)}
    page = report(tmp_path / "run", mesh={"batch": 16, "model": 2}, nbytes_per_device=held)
    assert not page.wrong
    assert page.rows("Slices of ffw_gating/kernel and their devices")[2][1] == "[0:16, 12:24]"


def test_it_is_written_again(run: Path) -> None:
    file = write_report(run)
    assert file == run / "report.html"
    first = file.read_bytes()
    before = {path.name for path in run.iterdir()}
    assert write_report(run).read_bytes() == first
    assert before == {"run.json", "metrics.jsonl", "generations.json", "report.html"}
    assert {path.name for path in run.iterdir()} == before
    # The page has the permissions of the files that it is made from.
    assert file.stat().st_mode == (run / "run.json").stat().st_mode


def refused(folder: Path, *fragments: str) -> str:
    """The one sentence; an earlier page is unchanged, and no other file is left."""
    page = folder / "report.html"
    if folder.is_dir():
        page.write_text("earlier")
    with pytest.raises(UserError) as caught:
        write_report(folder)
    sentence = str(caught.value)
    assert all(fragment in sentence for fragment in fragments), sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    if folder.is_dir():
        assert page.read_text() == "earlier"
        assert not list(folder.glob(".*"))
    return sentence


@pytest.mark.parametrize("name", ["metrics.jsonl", "generations.json"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "it is missing"),
        (b"", "it is damaged ("),
        (b"{", "it is damaged ("),
        (b"[]", "[] where an object should be"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"{}", 'it has no "'),
        (b"[" * 100_000, "it is damaged ("),
    ],
    ids=["missing", "empty", "cut off", "a list", "not text", "without keys", "deep"],
)
def test_a_file_that_is_missing_or_damaged_is_one_sentence(
    run: Path, name: str, content: bytes | None, reason: str
) -> None:
    (run / name).unlink() if content is None else (run / name).write_bytes(content)
    refused(run, f"{run / name}: ", reason)


def test_a_damaged_line_of_the_metrics_is_named(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:6], lines[6][:20], *lines[7:]]))
    refused(run, "metrics.jsonl: it is damaged (line 7 is not JSON)")


def test_completions_that_do_not_belong_to_the_prompts(run: Path) -> None:
    with edited(run / "generations.json") as generations:
        del generations["after"][0]
    refused(run, "3 prompts, 3 completions before and 2 after")


def test_an_unfinished_run_is_one_sentence(run: Path) -> None:
    (run / "run.json").unlink()
    with (run / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 41, "lo')
    refused(run, "this run is not finished (40 steps in metrics.jsonl, and no run.json)")
    (run / "metrics.jsonl").unlink()
    refused(run, "it has neither run.json nor metrics.jsonl")
    (run / "request.json").write_text("{}")
    refused(run, "this run is not finished (0 steps")


def test_no_folder_of_a_run(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "there is no such folder")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "this is a file")
    refused(tmp_path, "it has neither run.json nor metrics.jsonl")


def test_a_page_that_cannot_be_written(run: Path) -> None:
    (run / "report.html").mkdir()
    with pytest.raises(UserError, match=r"report\.html: it cannot be written \(Is a directory\)\."):
        write_report(run)
    assert {path.name for path in run.iterdir()} == {"run.json", "metrics.jsonl", "generations.json", "report.html"}


def test_half_of_a_character(run: Path) -> None:
    text = (run / "generations.json").read_text(encoding="utf-8")
    (run / "generations.json").write_text(text.replace("it liked I", "it \\ud83d liked"), encoding="utf-8")
    assert "it ? liked" in Page(write_report(run)).text


def test_what_follows_a_prompt(run: Path) -> None:
    with edited(run / "generations.json") as generations:
        # A limit on the tokens may cut off the prompt's own end.
        generations["after"][2]["text"] = "Other fil"
    rows = judged_prompts(read_generations(run))
    continuations = [(row.before.continuation, row.after.continuation) for row in rows]
    assert continuations == [("1. One", "I liked it."), ("1. Two", "it liked I"), ("1. Three", "")]
    assert Page(write_report(run)).text.count("(nothing)") == 1


def test_the_page_has_what_the_files_have(run: Path) -> None:
    result = open_finished_run(str(run)).result
    assert device_names(result) == DEVICES
    text = Page(write_report(run)).text
    assert "1. One" in text
    assert "I liked it." in text
    assert [step.loss for step in read_metrics(run / "metrics.jsonl")] == [
        json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    assert [row.after.verdict.word for row in judged_prompts(made_generations())] == ["review", "neither", "list"]


def test_one_section(run: Path) -> None:
    """For a frame in a notebook: the section, its style, and nothing else."""
    file = write_report(run, "sharding")
    assert file == run / "report-sharding.html"
    page = Page(file)
    assert page.wrong == []
    assert [attributes["id"] for tag, attributes in page.elements if tag == "h2"] == ["sharding"]
    tags = [tag for tag, _ in page.elements]
    assert tags.count("svg") >= 5
    assert not {"nav", "header", "footer", "h1"} & set(tags)
    whole = Page(write_report(run))
    names = [attributes["id"] for tag, attributes in whole.elements if tag == "h2"]
    assert len(names) >= 9
    for name in names:
        assert Page(write_report(run, name)).wrong == []
    with pytest.raises(UserError, match="There is no section 'los': did you mean loss"):
        write_report(run, "los")


def test_equal_completions_are_shown_once(run: Path) -> None:
    generations = made_generations()
    same = [replace(generations.before[0], text=f"{prompt}1. One") for prompt in generations.prompts]
    after = [replace(generations.after[0], text=f"{prompt}I liked it.") for prompt in generations.prompts[:2]] + [
        generations.after[2]
    ]
    write(run / GENERATIONS_FILE, as_json(replace(generations, before=tuple(same), after=tuple(after))))
    text = write_report(run).read_text()
    assert "The model wrote the same to these 2 prompts." in text
    completions = text[text.index('<ol class="prompts">') :]
    assert completions.count("I liked it.") == 1
    # The table of verdicts still leads to each prompt.
    for number in (1, 2, 3):
        assert f'href="#prompt-{number}"' in text
        assert completions.count(f'id="prompt-{number}"') == 1
