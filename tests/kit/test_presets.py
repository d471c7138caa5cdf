"""Presets: found, read and refused; Kaggle by its real client, against a server on this machine that answers as Kaggle does."""

import contextlib
import fcntl
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kit.errors import UserError
from kit.models.presets import BUNDLED_FOLDER, find_preset, require_memory
from kit.models.settings import TUTORIAL_SETTINGS, FinetuningSettings

#: Where Kaggle's client looks when KAGGLE_API_ENVIRONMENT is TEST.
KAGGLE_TEST_PORT = 7777


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the bundled preset, to be damaged."""
    return Path(shutil.copytree(BUNDLED_FOLDER, tmp_path / "preset"))


class TestFolders:
    def test_the_bundled_preset(self) -> None:
        preset = find_preset("bundled")
        architecture = preset.architecture
        assert architecture["num_query_heads"] == architecture["num_key_value_heads"] == 8
        assert preset.trained_on_reviews
        assert preset.settings.rank == TUTORIAL_SETTINGS.rank == 4

    def test_it_is_small(self) -> None:
        assert sum(file.stat().st_size for file in BUNDLED_FOLDER.rglob("*") if file.is_file()) < 10e6

    def test_its_vocabulary_has_gemmas_ids(self) -> None:
        import sentencepiece

        file = BUNDLED_FOLDER / "assets" / "tokenizer" / "vocabulary.spm"
        vocabulary = sentencepiece.SentencePieceProcessor(model_proto=file.read_bytes())
        assert [vocabulary.id_to_piece(number) for number in range(4)] == ["<pad>", "<eos>", "<bos>", "<unk>"]

    def test_it_is_what_the_recipe_recorded(self) -> None:
        import hashlib

        record = json.loads((BUNDLED_FOLDER / "recipe.json").read_text())
        assert len(record["sha256"]) == 2
        for name, expected in record["sha256"].items():
            assert hashlib.sha256((BUNDLED_FOLDER / name).read_bytes()).hexdigest() == expected
        losses = list(record["losses"].values())
        assert losses[-1] < losses[0] / 2

    def test_a_folder_has_its_own_settings_or_the_tutorials(self, copy: Path) -> None:
        assert find_preset(str(copy)).settings == find_preset("bundled").settings
        (copy / "finetuning.json").write_text('{"batches": 3}')
        assert find_preset(str(copy)).settings == FinetuningSettings(batches=3)
        (copy / "finetuning.json").unlink()
        assert find_preset(str(copy)).settings == TUTORIAL_SETTINGS

    @pytest.mark.parametrize("content", ["{", "[]", '{"batch": 3}', '{"batches": "many"}', '{"batches": -1}'])
    def test_settings_that_are_none(self, copy: Path, content: str) -> None:
        (copy / "finetuning.json").write_text(content)
        with pytest.raises(UserError, match=r"finetuning\.json|--batches"):
            find_preset(str(copy))

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda folder: (folder / "config.json").unlink(), r"has no config\.json"),
            (lambda folder: (folder / "config.json").write_text('{"class_'), r"config\.json is damaged"),
            (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json is damaged"),
            (
                lambda folder: (folder / "config.json").write_text('{"class_name": "BertBackbone", "config": {}}'),
                "it is a BertBackbone, and this program tunes Gemma models",
            ),
            (lambda folder: (folder / "model.weights.h5").unlink(), "its weights, .* are missing"),
            (lambda folder: _cut(folder / "model.weights.h5"), "its weights, .* are damaged or cut off"),
            (lambda folder: (folder / "model.weights.h5").write_bytes(b"no HDF5"), "are damaged or cut off"),
            (lambda folder: (folder / "assets/tokenizer/vocabulary.spm").unlink(), "its vocabulary, .* is missing"),
            (lambda folder: _cut(folder / "assets/tokenizer/vocabulary.spm"), "its vocabulary, .* is damaged"),
        ],
    )
    def test_damage_is_named(self, copy: Path, damage: Any, message: str) -> None:
        damage(copy)
        with pytest.raises(UserError, match=message) as caught:
            find_preset(str(copy))
        assert "\n" not in str(caught.value)

    def test_a_file_is_no_preset(self, copy: Path) -> None:
        with pytest.raises(UserError, match="this is a file"):
            find_preset(str(copy / "config.json"))

    def test_more_weights_than_memory(self) -> None:
        preset = find_preset("bundled")
        require_memory(preset, 10**9, available=2 * 10**9)
        with pytest.raises(UserError, match=r"34\.2 GB of weights, and this machine has 25\.0 GB"):
            require_memory(preset, 34_150_723_584, available=25 * 10**9)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@contextlib.contextmanager
def kaggle(status: int = 200) -> Iterator[list[str]]:
    """A server that gives the files of the bundled preset, or refuses with a status. Yields the paths asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(request.get("path", ""))
            file = BUNDLED_FOLDER / request.get("path", "")
            answer = status if status != 200 or file.is_file() else 404
            content = file.read_bytes() if answer == 200 else json.dumps({"code": answer, "message": "no"}).encode()
            self.send_response(answer)
            self.send_header("Content-Type", "application/octet-stream" if answer == 200 else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("localhost", KAGGLE_TEST_PORT), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
class TestKaggle:
    """Kaggle's client leaves connections open, which is why ResourceWarnings are let through here."""

    @pytest.fixture(autouse=True)
    def alone(self) -> Iterator[None]:
        """The client knows one port for tests, so under pytest-xdist one of these tests at a time."""
        with (Path(tempfile.gettempdir()) / f"kit-kaggle-{KAGGLE_TEST_PORT}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @pytest.fixture(autouse=True)
    def own_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No credentials and no cache but the test's own, and the server on this machine in Kaggle's place."""
        for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_KERNEL_RUN_TYPE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "credentials"))
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.delenv(name, raising=False)

    @pytest.fixture
    def credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KAGGLE_USERNAME", "learner")
        monkeypatch.setenv("KAGGLE_KEY", "0123456789abcdef")

    def refused(self, name: str = "gemma_7b_en") -> str:
        with pytest.raises(UserError) as caught:
            find_preset(name)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_no_credentials(self) -> None:
        with kaggle() as asked:
            message = self.refused()
        assert not asked
        assert "no Kaggle credentials were found" in message
        assert "kagglehub.login()" in message

    def test_wrong_credentials(self, credentials: None) -> None:
        with kaggle(401) as asked:
            assert "Kaggle refused the credentials that were found" in self.refused()
        assert asked == ["config.json"]

    def test_licence_not_accepted(self, credentials: None) -> None:
        with kaggle(403):
            message = self.refused()
        assert "accept the licence at https://www.kaggle.com/models/keras/gemma and run again" in message

    def test_unknown_version(self, credentials: None) -> None:
        with kaggle(404):
            assert "check the name and the version" in self.refused("kaggle://keras/gemma/keras/gemma_9b_en/1")

    def test_a_handle_that_is_none(self) -> None:
        assert "a Kaggle handle is kaggle://owner/model/keras/variant/version" in self.refused("kaggle://gemma")

    def test_no_network(self, credentials: None) -> None:
        assert "Kaggle could not be reached for gemma_7b_en" in self.refused()

    def test_unreadable_credentials(self, tmp_path: Path) -> None:
        (tmp_path / "credentials").mkdir()
        (tmp_path / "credentials" / "kaggle.json").write_text("{")
        assert "download it again from kaggle.com" in self.refused()

    @pytest.mark.parametrize("way", ["environment", "file", "login"])
    def test_each_way_of_credentials_loads(
        self, mesh_1x8: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        import kagglehub

        from kit.evidence.placement import nbytes_per_device
        from kit.reference.layout import gemma_layout_map
        from kit.reference.loading import load_distributed

        if way == "environment":
            monkeypatch.setenv("KAGGLE_USERNAME", "learner")
            monkeypatch.setenv("KAGGLE_KEY", "0123456789abcdef")
        elif way == "file":
            (tmp_path / "credentials").mkdir()
            (tmp_path / "credentials" / "kaggle.json").write_text('{"username": "learner", "key": "0123456789abcdef"}')
        else:
            # What kagglehub.login() does with what is typed into its form.
            kagglehub.config.set_kaggle_credentials("learner", "0123456789abcdef")
        try:
            with kaggle() as asked:
                preset = find_preset("gemma_2b_en")
                assert preset.settings == TUTORIAL_SETTINGS
                model = load_distributed(preset.location, gemma_layout_map(mesh_1x8))
        finally:
            kagglehub.config.clear_kaggle_credentials()
        assert asked[0] == "config.json"
        assert "model.weights.h5" in asked
        assert set(nbytes_per_device(model.backbone.variables).values()) == {(1_311_872 - 1_152) * 4 // 8 + 1_152 * 4}
