"""The codes of checks of the user's own model are in a document, and each is raised somewhere."""

from pathlib import Path

from kit.checks.codes import OWN_MODEL_CODES

ROOT = Path(__file__).parents[3]


def test_each_code_of_the_six_checks_is_in_the_document_and_raised() -> None:
    document = (ROOT / "docs" / "model_checks.md").read_text(encoding="utf-8")
    sources = [file for file in (ROOT / "kit" / "checks").glob("*.py") if file.name != "codes.py"]
    source = "".join(file.read_text(encoding="utf-8") for file in sources)
    prefixes = ("WEIGHTS_", "TRAINING_", "STEP_", "RESUMING_", "SAVING_", "DEVICE_ORDER_")
    codes = [code for code in OWN_MODEL_CODES if code.startswith(prefixes)]
    assert len(codes) >= 20
    assert not [code for code in codes if f"`{code}`" not in document]
    assert not [code for code in codes if f'"{code}"' not in source]
