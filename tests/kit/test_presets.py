"""Presets: found, read and refused; Kaggle by its real client, against a server on this machine that answers as Kaggle does."""

import base64
import hashlib
import json
import re
import resource
import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kit.errors import UserError
from kit.models import kaggle as kaggle_files
from kit.models.presets import BUNDLED_FOLDER, download_all, find_preset, require_memory
from kit.models.settings import TUTORIAL_SETTINGS, FinetuningSettings


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


class Kaggle(ThreadingHTTPServer):
    """Answers as Kaggle does, with the files of the bundled preset: a list, and for each file a redirection to a store.

    It is reached as a proxy, so that Kaggle's client may keep its own addresses.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        #: What every question of the client is answered with.
        self.status = 200
        #: Path -> what goes wrong with it, time after time; "" is nothing.
        self.faults: dict[str, list[str]] = {}
        #: Path -> what is in the store under it, if it is not the bundled preset's.
        self.contents: dict[str, bytes] = {}
        self.names = [str(file.relative_to(BUNDLED_FOLDER)) for file in BUNDLED_FOLDER.rglob("*") if file.is_file()]
        #: Paths asked for, and from which byte on where that is not the first.
        self.asked: list[str] = []
        #: Set when the test is over, so that what stalls ends.
        self.over = threading.Event()

    def content(self, path: str) -> bytes:
        return self.contents.get(path) or (BUNDLED_FOLDER / path).read_bytes()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class _Answer(BaseHTTPRequestHandler):
    server: Kaggle

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = request.get("path", "")
        if self.path.endswith("/ListModelInstanceVersionFiles"):
            files = [{"name": name, "size": len(self.server.content(name))} for name in self.server.names]
            return self._json(200, {"files": files, "nextPageToken": ""})
        if self.path.endswith("/GetModelInstance"):
            return self._json(200, {"versionNumber": 3})
        self.server.asked.append(path)
        answer = self.server.status if self.server.status != 200 or path in self.server.names else 404
        if answer != 200:
            return self._json(answer, {"code": answer, "message": "no"})
        if self._fault(path, "silent"):
            self.server.over.wait(30)
            return None
        return self._head(302, {"Location": f"http://store.test/{path}", "Content-Length": "0"})

    def do_GET(self) -> None:
        path = self.path.removeprefix("http://store.test/")
        content = self.server.content(path)
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        first = int(self.headers["Range"].removeprefix("bytes=")[:-1]) if "Range" in self.headers else 0
        if first:
            self.server.asked.append(f"{path} from {first}")
            if self._fault(path, "range refused"):
                return self._json(416, {"code": 416})
        if self._fault(path, "changed"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        rest = content[first:]
        length = {"Accept-Ranges": "bytes", "Content-Length": str(len(rest))}
        self._head(206 if first else 200, length | {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"})
        for fault in ("cut", "reset", "stalled"):
            if self._fault(path, fault):
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                if fault == "stalled":
                    self.server.over.wait(30)
                if fault == "reset":
                    # Sends a reset in place of an orderly end.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return None
        if self._fault(path, "slow"):
            for start in range(0, len(rest), 1 + len(rest) // 4):
                time.sleep(0.05)
                self.wfile.write(rest[start : start + 1 + len(rest) // 4])
            return None
        self.wfile.write(rest)
        return None

    def _fault(self, path: str, fault: str) -> bool:
        """Whether this goes wrong now; it is then over."""
        waiting = self.server.faults.get(path, [])
        if waiting[:1] != [fault]:
            return False
        del waiting[0]
        return True

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _json(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


WEIGHTS = "model.weights.h5"


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
class TestKaggle:
    """Kaggle's client leaves connections open, which is why ResourceWarnings are let through here."""

    @pytest.fixture(autouse=True)
    def own_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No credentials and no cache but the test's own."""
        for name in (
            "KAGGLE_USERNAME",
            "KAGGLE_KEY",
            "KAGGLE_API_TOKEN",
            "KAGGLE_KERNEL_RUN_TYPE",
            "no_proxy",
            "NO_PROXY",
        ):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "credentials"))
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
        # Over plain HTTP, which a proxy can answer, and as quiet as for Kaggle itself.
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")

    @pytest.fixture
    def kaggle(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
        """The server, in Kaggle's place."""
        server = Kaggle()
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()

    @pytest.fixture
    def credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KAGGLE_USERNAME", "learner")
        monkeypatch.setenv("KAGGLE_KEY", "0123456789abcdef")

    @pytest.fixture
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kit.models.kaggle.READ_SECONDS", 1.0)

    def refused(self, name: str = "gemma_7b_en") -> str:
        with pytest.raises(UserError) as caught:
            download_all(find_preset(name))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def loaded(self, name: str = "gemma_7b_en") -> Path:
        """Fetch the preset, and compare it with what is in the store."""
        folder = Path(download_all(find_preset(name)).location)
        files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        assert files == {
            str(file.relative_to(BUNDLED_FOLDER)): file.read_bytes()
            for file in BUNDLED_FOLDER.rglob("*")
            if file.is_file()
        }
        return folder

    def test_no_credentials(self, kaggle: Kaggle) -> None:
        message = self.refused()
        assert not kaggle.asked
        assert "no Kaggle credentials were found" in message
        assert "kagglehub.login()" in message

    def test_wrong_credentials(self, credentials: None, kaggle: Kaggle) -> None:
        kaggle.status = 401
        assert "Kaggle refused the credentials that were found" in self.refused()
        assert kaggle.asked == ["config.json"]

    def test_licence_not_accepted(self, credentials: None, kaggle: Kaggle) -> None:
        kaggle.status = 403
        assert "accept the licence at https://www.kaggle.com/models/keras/gemma and run again" in self.refused()

    def test_unknown_version(self, credentials: None, kaggle: Kaggle) -> None:
        kaggle.status = 404
        assert "check the name and the version" in self.refused("kaggle://keras/gemma/keras/gemma_9b_en/1")

    def test_out_of_order(self, credentials: None, kaggle: Kaggle) -> None:
        kaggle.status = 503
        assert "Kaggle answered with status 503 for gemma_7b_en: run again later" in self.refused()

    def test_a_handle_that_is_none(self) -> None:
        assert "a Kaggle handle is kaggle://owner/model/keras/variant/version" in self.refused("kaggle://gemma")

    def test_no_network(self, credentials: None, kaggle: Kaggle) -> None:
        kaggle.shutdown()
        kaggle.server_close()
        assert "Kaggle could not be reached for gemma_7b_en (ProxyError): check the network" in self.refused()

    def test_unreadable_credentials(self, tmp_path: Path) -> None:
        (tmp_path / "credentials").mkdir()
        (tmp_path / "credentials" / "kaggle.json").write_text("{")
        assert "download it again from kaggle.com" in self.refused()

    def test_what_was_fetched_needs_no_network(self, credentials: None, kaggle: Kaggle) -> None:
        told: list[str] = []
        preset = download_all(find_preset("gemma_7b_en"), told.append)
        assert told == [f"from Kaggle come 8 files with 5.4 MB, into {preset.location}"]
        kaggle.status = 503
        kaggle.names = []
        self.loaded()

    def test_two_at_once(self, credentials: None, kaggle: Kaggle) -> None:
        """The second waits for the first, and then has nothing to fetch."""
        preset = find_preset("gemma_7b_en")
        kaggle.faults[WEIGHTS] = ["slow"]
        told: tuple[list[str], list[str]] = ([], [])
        threads = [threading.Thread(target=download_all, args=(preset, texts.append)) for texts in told]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(texts[0].partition(" ")[0] for texts in told) == ["another", "from"]
        assert [len(texts) for texts in told] == [1, 1]
        assert kaggle.asked.count(WEIGHTS) == 1
        self.loaded()

    def test_a_handle_without_a_version_gets_the_latest(self, credentials: None, kaggle: Kaggle) -> None:
        assert self.loaded("kaggle://keras/gemma/keras/gemma_7b_en").name == "3"

    def test_slow(self, credentials: None, impatient: None, kaggle: Kaggle) -> None:
        kaggle.faults[WEIGHTS] = ["slow"]
        self.loaded()

    def test_no_answer(self, credentials: None, impatient: None, kaggle: Kaggle) -> None:
        kaggle.faults["config.json"] = ["silent"]
        assert "Kaggle did not answer for gemma_7b_en within 1 s: check the network and run again" in self.refused()

    @pytest.mark.parametrize("fault", ["cut", "reset", "stalled"])
    def test_broken_off_and_taken_up_again(
        self, credentials: None, impatient: None, kaggle: Kaggle, fault: str
    ) -> None:
        kaggle.faults[WEIGHTS] = [fault]
        self.loaded()
        asked = [path for path in kaggle.asked if WEIGHTS in path]
        assert asked[:2] == [WEIGHTS, WEIGHTS]
        # A reset may take with it what had arrived.
        assert len(asked) == 3 or fault == "reset"

    def test_broken_off_for_good(self, credentials: None, kaggle: Kaggle) -> None:
        """Attempts end when two bring nothing; what is there is not trusted, and the next run goes on from it."""
        kaggle.faults[WEIGHTS] = ["cut"] * 99
        message = self.refused()
        assert re.search(
            rf"broke off in {WEIGHTS} of gemma_7b_en, after \d\.\d MB \(.*\): check the network and run again", message
        )
        kaggle.faults[WEIGHTS] = []
        kaggle.asked.clear()
        self.loaded()
        assert [path for path in kaggle.asked if WEIGHTS in path][1].startswith(f"{WEIGHTS} from ")

    @pytest.mark.parametrize("path", ["config.json", WEIGHTS])
    def test_a_file_that_does_not_match(self, credentials: None, kaggle: Kaggle, path: str) -> None:
        kaggle.faults[path] = ["changed"]
        assert f"{path} of gemma_7b_en is not what Kaggle has (its MD5 differs), and was deleted" in self.refused()
        self.loaded()

    def test_what_was_left_with_the_right_size_is_compared(self, credentials: None, kaggle: Kaggle) -> None:
        """The client would take it for whole."""
        folder = _cached("config.json").parent
        (folder / WEIGHTS).write_bytes(bytes(len(kaggle.content(WEIGHTS))))
        assert "is not what Kaggle has" in self.refused()
        self.loaded()

    def test_what_was_left_is_longer(self, credentials: None, kaggle: Kaggle) -> None:
        """A server answers an impossible range with a page, which the client would append."""
        kaggle.faults[WEIGHTS] = ["range refused"]
        folder = _cached("config.json").parent
        (folder / WEIGHTS).write_bytes(b"of another version")
        self.loaded()

    @pytest.mark.parametrize("path", ["config.json", WEIGHTS])
    def test_a_page_in_place_of_a_file(self, credentials: None, kaggle: Kaggle, path: str) -> None:
        """As a hotel's network answers whatever is asked for; it shows by what is in it."""
        kaggle.contents[path] = b"<html>Welcome! Your room number, please.</html>"
        assert re.search(rf"{re.escape(path)} .*is damaged", self.refused())
        kaggle.contents.clear()
        self.loaded()

    def test_a_full_disk(
        self, credentials: None, kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))
        assert "gemma_7b_en takes 5.4 MB more on the disk, and 1.0 MB are free" in self.refused()
        assert WEIGHTS not in kaggle.asked

    def test_a_cache_that_cannot_be_written(
        self, credentials: None, kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "file"))
        assert "cannot be written to" in self.refused()

    def test_a_disk_that_fills_up(self, credentials: None, kaggle: Kaggle) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, limits[1]))
        try:
            message = self.refused()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert re.search(
            rf"{WEIGHTS} of gemma_7b_en cannot be written to .*cache \(File too large\): mend that", message
        )
        self.loaded()

    @pytest.mark.parametrize("way", ["environment", "file", "login"])
    def test_each_way_of_credentials(
        self, kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        import kagglehub

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
            assert find_preset("gemma_2b_en").settings == TUTORIAL_SETTINGS
        finally:
            kagglehub.config.clear_kaggle_credentials()
        assert kaggle.asked == ["config.json"]

    @pytest.mark.parametrize("by", ["name", "folder"])
    def test_it_loads(self, credentials: None, kaggle: Kaggle, mesh_1x8: Any, by: str) -> None:
        """By its name through KerasHub, or from the folder that all of it was fetched into."""
        from kit.evidence.placement import nbytes_per_device
        from kit.reference.layout import gemma_layout_map
        from kit.reference.loading import load_distributed

        preset = find_preset("gemma_2b_en")
        if by == "folder":
            preset = download_all(preset)
            kaggle.asked.clear()
        model = load_distributed(preset.location, gemma_layout_map(mesh_1x8))
        assert (WEIGHTS in kaggle.asked) == (by == "name")
        assert bool(kaggle.asked) == (by == "name")
        assert set(nbytes_per_device(model.backbone.variables).values()) == {(1_311_872 - 1_152) * 4 // 8 + 1_152 * 4}


def _cached(path: str) -> Path:
    """A file of gemma_7b_en in the cache of Kaggle's client, where a run that was stopped has left it alone."""
    import keras_hub

    return kaggle_files.download("gemma_7b_en", keras_hub.models.CausalLM.presets["gemma_7b_en"]["kaggle_handle"], path)
