"""`kit check`: the checks of pytest in one screen, kept, with what to do next."""

import json
from pathlib import Path

from command_line import Kit, expect_one_sentence, kit
from exercise_folder import reference_source, source_of

from kit.course.catalogue import catalogue


def test_a_mistake(exercises: Path) -> None:
    source = source_of("reviews", "labels_kept")
    (exercises / "reviews.py").write_text(source)
    finished = kit("check", "reviews", cwd=exercises.parent)
    assert finished.returncode == 1
    # Only how long it takes, on a busy machine.
    assert all(line.startswith("    checking ") for line in finished.stderr.splitlines())
    first, second, *rest = finished.stdout.splitlines()
    assert first == "passed  prepare_reviews must exist and accept examples, batch_size, num_batches and seed."
    assert second.startswith("FAILED  Labels must be dropped, ")
    assert "\nREVIEWS_LABELS_KEPT: " in finished.stdout
    line = 1 + [line.startswith("def prepare_reviews") for line in source.splitlines()].index(True)
    assert rest[-1].startswith(f"Next: look at exercises/reviews.py:{line}, then run `kit check reviews`; ")
    kept = json.loads((exercises.parent / ".kit" / "results.json").read_text())["folders"]["exercises"]["reviews"]
    assert [entry["code"] for entry in kept.values()] == ["", "REVIEWS_LABELS_KEPT"]


def test_a_solved_exercise_leads_to_the_next(exercises: Path) -> None:
    (exercises / "mesh.py").write_text(reference_source("mesh"))
    finished = kit("check", cwd=exercises.parent)
    assert finished.returncode == 0
    lines = finished.stdout.splitlines()
    assert lines[:4] == [f"passed  {check.asks}" for check in catalogue().checks_of("mesh")]
    assert lines[4:6] == ["", f"mesh: passed. {catalogue().find('mesh').learned}"]
    assert lines[-1] == "Next: kit lesson layout"


def test_stubs_need_no_framework_and_no_traceback(exercises: Path, kit: Kit) -> None:
    code, output, message = kit("check", "--all", "--layer", "interface")
    assert (code, message) == (1, "")
    assert len(output.splitlines()) == len(catalogue().names) + 1
    assert "lora: 0 of 3 checks passed, 3 to do\n" in output
    assert output.splitlines()[-1].startswith("Next: write make_device_mesh (exercises/mesh.py:")
    code, output, _ = kit("check", "lora")
    assert code == 1
    assert output.count("to do ") == len(catalogue().checks_of("lora"))


def test_a_page_for_a_notebook(exercises: Path, kit: Kit) -> None:
    code, output, _ = kit("check", "lora", "--html", "lora.html")
    assert code == 1
    page = Path("lora.html").read_text(encoding="utf-8")
    assert f"<h1>lora: {len(catalogue().checks_of('lora'))} to do</h1>" in page
    assert "NOT_IMPLEMENTED</span>: exercises/lora.py::enable_lora (line " in page
    assert output.splitlines()[-1].startswith("Next: write enable_lora (")
    assert "Next: write enable_lora (" in page
    code, _, message = kit("check", "lora", "--html", "no-folder/lora.html")
    assert code == 2
    expect_one_sentence(message, "kit: no-folder/lora.html: it cannot be written")


def test_results_that_cannot_be_kept_change_no_verdict(exercises: Path, kit: Kit) -> None:
    (exercises.parent / ".kit").write_text("a file")
    code, output, message = kit("check", "lora")
    assert code == 1
    assert "Next: write enable_lora" in output
    assert message.startswith("The results were not kept: .kit/results.json cannot be written (")


def test_mistakes_of_the_user_are_one_sentence(exercises: Path, kit: Kit) -> None:
    for arguments, sentence in (
        (["lya"], "no exercise 'lya': choose one of mesh"),
        (["mesh", "--impl", "nowhere"], "--impl nowhere: there is no such folder here"),
        (["mesh", "--platform", "tpu"], "this machine has no TPU"),
    ):
        code, output, message = kit("check", *arguments)
        assert (code, output) == (2, "")
        expect_one_sentence(message, sentence)
