"""Models from Hugging Face, by its real client, from a server on this machine."""

import json
import re
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from command_line import expect_one_sentence, kit
from huggingface_hub.utils._xet import abort_xet_session
from huggingface_server import COMMIT, TOKEN, HuggingFace
from loopback import serving
from safetensors.numpy import save_file
from transformers_models import logits, write_bundled_model, write_model

from kit.errors import UserError
from kit.formatting import format_bytes
from kit.models import huggingface
from kit.models.presets import download_all, find_preset
from kit.models.settings import TUTORIAL_SETTINGS
from kit.models.transformers_format import text_models

NAME = "hf://google/gemma"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in two files; the second is larger than what the client holds back."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, "gemma")
    # Tensors that nothing reads.
    save_file({"rest": np.arange(600_000, dtype="float32")}, folder / "more.safetensors")
    return folder


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
class TestHuggingFace:
    """The client leaves connections open, so ResourceWarnings are no errors here."""

    @pytest.fixture(autouse=True)
    def own_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No token, and a cache of its own."""
        constants = huggingface_hub.constants
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
        # The client gives up a piece that is not complete.
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)

    @pytest.fixture
    def server(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HuggingFace]:
        """The server, instead of Hugging Face."""
        server = HuggingFace(shutil.copytree(model, tmp_path / "model"))
        # As with HF_ENDPOINT, which the client reads when it is imported.
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        with serving(server):
            yield server

    @pytest.fixture
    def token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)

    @pytest.fixture
    def xet(self, server: HuggingFace, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Large files by Xet, which gives up soon."""
        server.xet = True
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
        monkeypatch.setenv("HF_XET_CLIENT_READ_TIMEOUT", "1s")
        monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2")
        monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")
        # The next session has these limits.
        abort_xet_session()
        yield
        abort_xet_session()

    def refused(self, name: str = NAME) -> str:
        with pytest.raises(UserError) as caught:
            download_all(find_preset(name))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def loaded(self, server: HuggingFace, name: str = NAME) -> Path:
        """Download the model, and compare it with the content of the server."""
        folder = Path(download_all(find_preset(name)).location)
        found = {file.name: file.read_bytes() for file in folder.iterdir()}
        assert sorted(found) == ["config.json", WEIGHTS, "tokenizer.model"]
        assert found == {name: (server.folder / name).read_bytes() for name in found}
        return folder

    def test_it_is_pinned_and_then_needs_no_network(self, server: HuggingFace) -> None:
        preset = find_preset(NAME)
        assert preset.name == preset.handle == f"{NAME}@{COMMIT}"
        assert preset.settings == TUTORIAL_SETTINGS
        assert preset.config["class_name"] == "GemmaBackbone"
        reported: list[str] = []
        folder = download_all(preset, reported.append).location
        size = format_bytes((server.folder / WEIGHTS).stat().st_size)
        assert reported == [f"downloading 1 file with {size} from Hugging Face to {folder}"]
        # The branch has moved on; a run that is resumed or exported asks for its own commit.
        server.commit = COMMIT[::-1]
        asked = server.requests
        self.loaded(server, preset.name)
        assert server.requests == asked
        assert find_preset(NAME).name == f"{NAME}@{COMMIT[::-1]}"

    @pytest.mark.parametrize("how", ["no server", "offline"])
    def test_the_newest_in_the_cache_without_a_network(
        self, server: HuggingFace, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        self.loaded(server)
        if how == "offline":
            monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        server.shutdown()
        server.server_close()
        self.loaded(server)

    def test_no_network(self, server: HuggingFace) -> None:
        server.shutdown()
        server.server_close()
        started = time.perf_counter()
        message = self.refused()
        assert time.perf_counter() - started < 5
        assert (
            f"Hugging Face could not be reached for {NAME} (ConnectError), and the client's cache does not" in message
        )

    def test_no_token(self, server: HuggingFace) -> None:
        server.gated = True
        message = self.refused()
        assert f"{NAME} needs an account that has accepted its licence, and no token was found: accept" in message
        assert f"at {server.address}/google/gemma, then create a token" in message
        assert "set HF_TOKEN to it, or run `hf auth login`" in message

    def test_a_licence_that_is_not_accepted(self, server: HuggingFace, token: None) -> None:
        server.gated, server.accepted = True, False
        assert f"Hugging Face refuses {NAME} to this token: accept its licence at" in self.refused()
        server.accepted = True
        self.loaded(server)

    def test_a_wrong_token(self, server: HuggingFace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        assert "Hugging Face refused the token that was found: create a token" in self.refused()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "hf://google/gemma-9",
                "Hugging Face has no model google/gemma-9: check the name; if it is private, create",
            ),
            ("hf://google/gemma@v2", "Hugging Face has no revision v2 of google/gemma: check it at http"),
            ("hf://gemma", "a model of Hugging Face is hf://owner/model or hf://owner/model@revision"),
            ("hf://google/gemma@", "a model of Hugging Face is hf://owner/model or hf://owner/model@revision"),
        ],
    )
    def test_unknown_names(self, server: HuggingFace, name: str, message: str) -> None:
        assert message in self.refused(name)

    def test_unknown_with_a_token(self, server: HuggingFace, token: None) -> None:
        assert self.refused("hf://google/gemma-9") == "Hugging Face has no model google/gemma-9: check the name."

    def test_an_error_of_the_server(self, server: HuggingFace) -> None:
        server.status = 503
        assert f"Hugging Face answered with status 503 for {NAME}: run again later" in self.refused()

    def test_no_answer(self, server: HuggingFace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kit.models.huggingface.CONNECT_SECONDS", 0.2)
        server.faults["config.json"] = ["silent"] * 9
        assert f"Hugging Face could not be reached for {NAME} (ReadTimeout)" in self.refused()

    def test_a_page_instead_of_an_answer(self, server: HuggingFace) -> None:
        """As the network of a hotel answers each request."""
        server.faults["list"] = ["page"]
        assert f"The answer for {NAME} is not Hugging Face's: log in to the network first" in self.refused()

    def test_a_page_instead_of_a_file(self, server: HuggingFace) -> None:
        server.contents["config.json"] = b"<html>Welcome! Please log in.</html>"
        assert f"config.json of {NAME} is damaged, and was deleted" in self.refused()
        server.contents.clear()
        self.loaded(server)

    @pytest.mark.parametrize("fault", ["cut", "reset", "stalled", "slow", "range ignored"])
    def test_an_interrupted_download_is_resumed(self, server: HuggingFace, fault: str) -> None:
        server.faults[WEIGHTS] = ["cut", fault] if fault == "range ignored" else [fault]
        self.loaded(server)
        asked = [path for path in server.asked if path.startswith(WEIGHTS)]
        assert len(asked) == (1 if fault == "slow" else 2)
        # A reset may discard received data.
        assert fault in ("slow", "reset") or re.fullmatch(rf"{WEIGHTS} from [1-9]\d+", asked[1])

    def test_the_next_run_resumes(self, server: HuggingFace) -> None:
        preset = find_preset(NAME)
        server.faults[WEIGHTS] = ["cut"] * 99
        lost = rf"was lost in {WEIGHTS} of {NAME}@{COMMIT}, after \d+\.\d .B \(.*\): check the network and run again"
        assert re.search(lost, self.refused())
        server.faults.clear()
        server.asked.clear()
        reported: list[str] = []
        folder = Path(download_all(preset, reported.append).location)
        assert "are here already" in reported[1]
        assert [path.partition(" from ")[0] for path in server.asked] == [WEIGHTS]
        assert (folder / WEIGHTS).read_bytes() == (server.folder / WEIGHTS).read_bytes()
        assert not [file for file in (folder.parent.parent / "blobs").iterdir() if file.suffix == ".incomplete"]

    @pytest.mark.parametrize("how", ["changed", "page"])
    def test_a_file_that_does_not_match(self, server: HuggingFace, how: str) -> None:
        server.faults[WEIGHTS] = ["changed"]
        if how == "page":
            server.contents[WEIGHTS] = b"<html>Welcome! Please log in.</html>"
        assert f"{WEIGHTS} of {NAME}@{COMMIT} differs from Hugging Face's (by its SHA-256)" in self.refused()
        server.contents.clear()
        self.loaded(server)

    def test_a_damaged_file_is_deleted(self, server: HuggingFace) -> None:
        """Hugging Face may have it so, or the disk."""
        folder = self.loaded(server)
        (folder / WEIGHTS).resolve().write_bytes(b"<html>Welcome! Please log in.</html>")
        assert f"{WEIGHTS} of {NAME}@{COMMIT} from Hugging Face is damaged, and was deleted" in self.refused()
        self.loaded(server)

    def test_two_at_once(self, server: HuggingFace) -> None:
        """The second waits for the first, and then downloads nothing."""
        preset = find_preset(NAME)
        server.faults[WEIGHTS] = ["slow"]
        reported: tuple[list[str], list[str]] = ([], [])
        threads = [threading.Thread(target=download_all, args=(preset, texts.append)) for texts in reported]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(texts[0].partition(" ")[0] for texts in reported) == ["another", "downloading"]
        assert server.asked.count(WEIGHTS) == 1
        self.loaded(server)

    def test_shards(self, server: HuggingFace) -> None:
        (server.folder / WEIGHTS).unlink()
        write_model(server.folder, "gemma", shards=2)
        folder = Path(download_all(find_preset(NAME)).location)
        shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
        assert sorted(file.name for file in folder.glob("model*")) == [*shards, f"{WEIGHTS}.index.json"]
        assert "more.safetensors" not in server.asked

    def test_no_safetensors(self, server: HuggingFace) -> None:
        (server.folder / WEIGHTS).rename(server.folder / "pytorch_model.bin")
        assert "has no model.safetensors and no model.safetensors.index.json on Hugging Face" in self.refused()

    def test_not_a_gemma(self, server: HuggingFace) -> None:
        (server.folder / "config.json").write_text('{"model_type": "llama"}')
        assert "it is a llama; this program tunes Gemma models only" in self.refused()
        (server.folder / "config.json").unlink()
        assert f"{NAME} has no config.json on Hugging Face: check the name and the revision" in self.refused()

    def test_a_full_disk(self, server: HuggingFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**5))
        assert re.search(r"needs \S+ .B more on disk, and 100\.0 kB are free at .*set HF_HOME", self.refused())
        assert WEIGHTS not in server.asked

    @pytest.mark.parametrize("way", ["http", "xet"])
    def test_a_disk_that_fills_up(self, server: HuggingFace, request: pytest.FixtureRequest, way: str) -> None:
        if way == "xet":
            request.getfixturevalue("xet")
        preset = find_preset(NAME)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
        try:
            with pytest.raises(UserError, match="File too large") as caught:
                download_all(preset)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "cannot be written to" in str(caught.value) or "the free space at" in str(caught.value)
        self.loaded(server)

    def test_a_cache_that_cannot_be_written(
        self, server: HuggingFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "file"))
        assert "cannot be written to" in self.refused()

    def test_by_xet(self, server: HuggingFace, xet: None) -> None:
        self.loaded(server)
        assert server.asked == ["config.json", "tokenizer.model", f"{WEIGHTS} by Xet"]

    def test_an_interrupted_download_by_xet(self, server: HuggingFace, xet: None) -> None:
        server.faults[f"{WEIGHTS} by Xet"] = ["cut"]
        self.loaded(server)
        assert server.asked.count(f"{WEIGHTS} by Xet") == 2

    @pytest.mark.parametrize("fault", ["cut", "stalled"])
    def test_a_download_by_xet_that_fails(
        self, server: HuggingFace, xet: None, monkeypatch: pytest.MonkeyPatch, fault: str
    ) -> None:
        """The next run downloads it again; without Xet it would resume."""
        server.faults[f"{WEIGHTS} by Xet"] = [fault] * 99
        message = self.refused()
        assert f"Xet could not download {WEIGHTS} of {NAME}@{COMMIT} (error decoding response body)" in message
        assert "with HF_HUB_DISABLE_XET=1 an interrupted download is resumed" in message
        server.faults.clear()
        self.loaded(server)

    def test_from_preset_takes_the_name_too(self, server: HuggingFace) -> None:
        """A learner's plain ``from_preset``."""
        import keras_hub

        with text_models():
            by_name = keras_hub.models.Backbone.from_preset(NAME)
            by_folder = keras_hub.models.Backbone.from_preset(str(self.loaded(server)))
        np.testing.assert_array_equal(logits(by_name), logits(by_folder))

    def test_a_preset_of_kerashub(self, server: HuggingFace) -> None:
        from kit.models.presets import BUNDLED_FOLDER

        shutil.rmtree(server.folder)
        shutil.copytree(BUNDLED_FOLDER, server.folder)
        preset = download_all(find_preset(NAME))
        assert preset.config == find_preset("bundled").config
        folder = Path(preset.location)
        for path in ("model.weights.h5", "tokenizer.json", "assets/tokenizer/vocabulary.spm"):
            assert (folder / path).read_bytes() == (BUNDLED_FOLDER / path).read_bytes()
        asked = server.requests
        download_all(find_preset(preset.name))
        assert server.requests == asked


def test_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert not huggingface.has_token()
    # As `hf auth login` does.
    (tmp_path / "token").write_text(TOKEN)
    assert huggingface.has_token()


@pytest.mark.long
@pytest.mark.parametrize("xet", ["0", "1"])
def test_a_run_and_its_export(tmp_path: Path, xet: str) -> None:
    """In processes of their own, with the client's own environment variables."""
    server = HuggingFace(write_bundled_model(tmp_path / "model"))
    server.gated, server.xet = True, xet == "1"
    environment = {
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": str(1 - int(xet)),
        "KERAS_HOME": str(tmp_path / "keras"),
    }
    run = [
        "run",
        "--preset",
        NAME,
        "--data",
        "movie-reviews",
        "--batches",
        "2",
        "--batch-size",
        "8",
        "--max-length",
        "24",
    ]
    with serving(server):
        refused = kit(*run, cwd=tmp_path, **environment, HF_TOKEN="")
        assert refused.returncode == 2
        expect_one_sentence(refused.stderr, "no token was found: accept its licence at")
        assert not (tmp_path / "runs").exists()
        finished = kit(*run, "--evidence", "quick", cwd=tmp_path, **environment, HF_TOKEN=TOKEN)
        assert finished.returncode == 0, finished.stderr
        assert (f"{WEIGHTS} by Xet" in server.asked) == (xet == "1")
        (folder,) = (tmp_path / "runs").iterdir()
        assert folder.name.endswith("-gemma")
        assert json.loads((folder / "run.json").read_text())["preset"] == f"{NAME}@{COMMIT}"
        # The branch moves on, to other weights; the export takes the run's.
        server.commit = COMMIT[::-1]
        asked = server.requests
        exported = kit("export", str(folder), "tuned", cwd=tmp_path, **environment, HF_TOKEN=TOKEN)
        assert exported.returncode == 0, exported.stderr
        assert server.requests == asked
        assert (tmp_path / "tuned" / "model.weights.h5").is_file()
