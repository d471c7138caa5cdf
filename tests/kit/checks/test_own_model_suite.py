"""The suite in docs/own_model.md: it passes, and each mistake has its code."""

import re
from pathlib import Path

import pytest
from own_suite import QUICK, run_pytest

TRAINING = Path(__file__).parents[3] / "docs" / "model_checks.md"
DOCUMENT = Path(__file__).parents[3] / "docs" / "own_model.md"


def own_files(document: Path = DOCUMENT) -> dict[str, str]:
    """The files in the document, by their names."""
    text = document.read_text(encoding="utf-8")
    return dict(re.findall(r"`([\w.]+)`[^`]*:\n\n```\w+\n(.*?)```", text, re.DOTALL))


def capture_of_a_failure() -> str:
    text = DOCUMENT.read_text(encoding="utf-8").partition("<!-- capture: pytest --tb=short -->\n")[2]
    return re.match(r"```text\n(.*?)\n```", text, re.DOTALL)[1]


@pytest.mark.long
class TestOwnSuite:
    """The document's files, run as a user would."""

    def test_ten_lines_of_code(self) -> None:
        files = own_files()
        assert set(files) == {"my_model.py", "test_my_model.py", "pytest.ini"}
        lines = [line for line in files["test_my_model.py"].splitlines() if line.strip()]
        assert len(lines) == 10
        assert "gemma" not in "".join(files.values()).lower()

    def test_it_passes(self, tmp_path: Path) -> None:
        for name, text in own_files().items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        finished = run_pytest(tmp_path, **QUICK)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert "4 passed" in finished.stdout

    @pytest.mark.libtpu
    def test_the_checks_of_training_pass(self, tmp_path: Path) -> None:
        """They take a minute and a half: most of it for three orders of the devices."""
        files = own_files() | own_files(TRAINING)
        assert "test_my_training.py" in files
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        finished = run_pytest(tmp_path, "test_my_training.py", **QUICK)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert "6 passed" in finished.stdout

    def test_each_mistake_has_its_code(self, tmp_path: Path) -> None:
        """It also works with a conftest.py that imports Keras first."""
        files, capture = own_files(), capture_of_a_failure()
        mistakes = {
            "typo": ('[".*feedforward_(gate', '["feedforward_(gate'),
            "hole": ('    layout_map["token_embedding/embeddings"] = ("model", None)\n', ""),
            "rank": ("lora_rank, target", "2 * lora_rank, target"),
            "name": ('["query", "value"]', '["query", "valeu"]'),
            "mesh": ("return keras_hub.models.Qwen3CausalLM", "return model_with_divided_loss"),
        }
        tests = {"typo": "rule", "hole": "replicated", "rank": "lora", "name": "lora", "mesh": "mesh"}
        selected = []
        for name, (right, wrong) in mistakes.items():
            model = files["my_model.py"].replace(right, wrong)
            assert model != files["my_model.py"], name
            (tmp_path / f"my_{name}.py").write_text(model + DIVIDED_LOSS, encoding="utf-8")
            test = files["test_my_model.py"].replace("my_model", f"my_{name}")
            # One mesh is enough here.
            fewer = test.replace("(1, 8), (2, 4), (8, 1)", "(2, 4),")
            (tmp_path / f"test_{name}.py").write_text(fewer, encoding="utf-8")
            (function,) = re.findall(rf"def (test_\w*{tests[name]}\w*)", test)
            selected.append(f"test_{name}.py::{function}")
        (tmp_path / "pytest.ini").write_text(files["pytest.ini"], encoding="utf-8")
        (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
        finished = run_pytest(tmp_path, "--tb=short", *selected, **QUICK)
        assert finished.returncode == 1, finished.stdout + finished.stderr
        assert "5 failed" in finished.stdout
        sections = re.split(r"^_{3,} ", finished.stdout, flags=re.M)[1:]
        codes = [re.findall(r"CheckFailed: ([A-Z_]+): ", section)[0] for section in sections]
        assert codes == [
            "LAYOUT_RULE_MATCHES_NOTHING",
            "LAYOUT_MATRIX_REPLICATED",
            "LORA_WRONG_RANK",
            "LORA_WRONG_TARGETS",
            "LOSS_DEPENDS_ON_MESH",
        ]
        # The document shows the same output.
        output = "\n".join(line.rstrip() for line in finished.stdout.splitlines())
        assert capture in output.replace("test_typo.py", "test_my_model.py")
        # The user's own line and the diagnostic, and no frame of the kit.
        assert "kit/checks" not in finished.stdout
        assert all("\nE   Try: " in section for section in sections)


#: Imported before any test module, with a backend that must have been chosen by then.
CONFTEST = """
from kit.runtime.platform import keep_tensorflow_out
keep_tensorflow_out()
import keras
assert keras.backend.backend() == "jax"
assert len(keras.distribution.list_devices()) == 8
"""

DIVIDED_LOSS = """

def model_with_divided_loss(backbone):
    task = keras_hub.models.Qwen3CausalLM(backbone=backbone)
    distribution = keras.distribution.distribution()
    replicas = distribution.num_model_replicas if distribution else 1
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    task.compile(loss=lambda y, logits: cross_entropy(y, logits) / replicas)
    return task
"""
