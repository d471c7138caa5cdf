"""`kit lock`, and `kit plan` of your own model."""

import json
import re
from pathlib import Path

import pytest
from command_line import kit
from own_suite import QUICK, run_pytest
from tpu_plans import needs_libtpu

from kit.cli.main import cli
from kit.errors import UserError

MODEL = """
import keras

def make_model():
    tokens = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(64, 16, name="embed")(tokens)
    for _ in range(2):
        hidden = hidden + keras.layers.Dense(16)(keras.layers.Dense(40)(hidden))
    model = keras.Model(tokens, keras.layers.Dense(64, name="logits")(hidden))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model

def layout_map(device_mesh):
    made = keras.distribution.LayoutMap(device_mesh)
    made["embed/embeddings"] = ("model", None)
    made["dense(_2)?/kernel"] = (None, "model")
    made["dense_[13]/kernel"] = ("model", None)
    return made

right = layout_map

def broken(device_mesh):
    made = right(device_mesh)
    del made["dense_[13]/kernel"]
    made["dense_1/kernel"] = ("model", None)
    return made
"""
OPTIONS = ("--layout", "my_model.py:layout_map", "--batch", "8x6")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_model.py").write_text(MODEL)
    return tmp_path


class TestLock:
    @needs_libtpu
    def test_a_rule_that_breaks(self, folder: Path) -> None:
        written = kit("lock", "my_model.py:make_model", *OPTIONS, cwd=folder)
        assert written.returncode == 0, written.stderr
        assert "v5e-8: it fits" in written.stdout
        (folder / "my_model.py").write_text(MODEL.replace('"dense_[13]/kernel"] = (', '"dense_1/kernel"] = (', 1))
        # Under other versions the lock's layout map is compiled again.
        lock = (folder / "sharding.lock").read_text()
        (folder / "sharding.lock").write_text(re.sub('libtpu = ".*"', 'libtpu = "0.0.1"', lock))
        checked = kit("lock", "--check", cwd=folder)
        assert checked.returncode == 1, checked.stderr
        text = checked.stdout
        assert "Note: The lock's layout map was compiled with today's versions and today's model" in text
        assert "`dense_[13]/kernel`, now `dense_1/kernel`, matches 1 matrix fewer (dense_3/kernel), now repl" in text
        assert re.search(r"on v5e-8: \d+ all-gathers? per step new, in dense_3: ", text)
        assert checked.stdout.count("\n  If this is meant, renew the lock: `kit lock my_model.py:make_model") == 1

    def test_without_the_compiler(self, folder: Path) -> None:
        """Also in pytest, where the lock's folder is not the current one."""
        written = kit("lock", "my_model.py:make_model", *OPTIONS, "--no-compile", cwd=folder)
        assert written.returncode == 0, written.stderr
        (folder / "pytest.ini").write_text("[pytest]\nsimulated_devices = 8\n")
        (folder / "test_lock.py").write_text(
            "import my_model\n\ndef test_same(sharding_lock):\n    sharding_lock()\n\n"
            "def test_broken(sharding_lock, monkeypatch):\n"
            "    monkeypatch.setattr(my_model, 'layout_map', my_model.broken)\n    sharding_lock()\n\n"
            "def test_nowhere(sharding_lock):\n    sharding_lock('no.lock')\n"
        )
        finished = run_pytest(folder, **QUICK)
        assert "1 passed" in finished.stdout, finished.stdout
        assert "2 failed" in finished.stdout, finished.stdout
        assert "rule 3, `dense_[13]/kernel`, now `dense_1/kernel`, matches 1 matrix fewer" in finished.stdout
        assert "no.lock: there is no lock here" in finished.stdout
        assert "kit/lock" not in finished.stdout


class TestPlan:
    @needs_libtpu
    def test_two_layouts_of_ones_own_model(self, folder: Path) -> None:
        pair = ("my_model.py:layout_map", "my_model.py:broken")
        finished = kit("plan", "my_model.py:make_model", "--batch", "8x512", "--compare", *pair, "--json", cwd=folder)
        assert finished.returncode == 0, finished.stderr
        content = json.loads(finished.stdout)
        assert content["a"]["fits"] is True
        assert content["a"]["mesh"] == {"batch": 1, "model": 8}
        assert content["a"]["parameters"]["total"] == 64 * 16 + 2 * (16 * 40 + 40 + 40 * 16 + 16) + 16 * 64 + 64
        assert content["a"]["attributed_share"] >= 0.95
        assert content["differences"][0]["layer_kind"] == "dense_3"
        assert content["differences"][0]["held"] == [3 * 4 * (16 * 40 // 8 + 40), 3 * 4 * (16 * 40 + 40)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["plan", "nowhere.py:make_model", "--batch", "8x6"],
            "nowhere.py:make_model: there is no file nowhere.py here.",
        ),
        (["plan", "nowhere:make_model", "--batch", "8x6"], "nowhere:make_model: there is no module nowhere here; for"),
        (["plan", "my_model.py:make_mode", "--batch", "8x6"], "has no function make_mode: did you mean make_model?"),
        (["plan", "my_model.py:make_model"], "--batch: say how large a batch is, such as `--batch 8x512`"),
        (["plan", "my_model.py:make_model", "--batch", "8x"], "--batch 8x: write sizes, such as 8x512, or FILE.py:F"),
        (["plan", "my_model.py:make_model", "--batch", "8x6", "--rank", "4"], "--rank: my_model.py:make_model decides"),
        (
            ["plan", "my_model.py:make_model", "--batch", "8x6", "--layout", "fsdp"],
            "--layout fsdp: for your own model,",
        ),
        (["plan", "my_model.py:make_model", "--batch", "8x6", "--topology", "v9-8"], "--topology v9-8: choose one of"),
        (["plan", "broken.py:make_model", "--batch", "8x6"], "broken.py:make_model: broken.py:1: "),
        (["plan", "gemma_7b_en", "--batch", "8"], "--batch 8: for a preset, write examples x tokens, such as 8x512."),
        (["lock"], "kit lock: name the function that builds your model, as FILE.py:FUNCTION."),
        (["lock", "gemma_7b_en", "--batch", "8x6"], "gemma_7b_en: `kit lock` is for your own model: write FILE.py:F"),
        (["lock", "my_model.py:make_model"], "--batch: say how large a batch is"),
        (
            ["lock", "a.py:b", "--batch", "8", "--topology", "v5e-8", "--topology", "v5e-4"],
            "but v5e-8 has 8, v5e-4 has",
        ),
        (["lock", "a.py:b", "--batch", "8", "--file", "nowhere/a.lock"], "there is no folder nowhere."),
        (["lock", "--check"], "sharding.lock: there is no lock here; write it with `kit lock FILE.py:FUNCTION`."),
        (["lock", "--check", "--batch", "8"], "--batch: `kit lock --check` takes it from the lock; leave it out."),
        (["lock", "a.py:b", "--check"], "a.py:b: `kit lock --check` takes the model from sharding.lock; leave it out."),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "broken.py").write_text("def make_model(:\n")
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        cli(arguments, standalone_mode=False)
    assert "\n" not in str(raised.value)
