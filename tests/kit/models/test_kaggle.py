"""Presets from Kaggle, by its real client, from a server on this machine."""

import re
import resource
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kaggle_server import Kaggle
from loopback import serving

from kit.errors import UserError
from kit.models import kaggle as kaggle_files
from kit.models.presets import BUNDLED_FOLDER, download_all, find_preset
from kit.models.settings import TUTORIAL_SETTINGS

WEIGHTS = "model.weights.h5"


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
class TestKaggle:
    """Kaggle's client leaves connections open, so ResourceWarnings are no errors here."""

    @pytest.fixture(autouse=True)
    def own_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No credentials, and a cache of its own."""
        for name in ("USERNAME", "KEY", "API_TOKEN", "KERNEL_RUN_TYPE"):
            monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "credentials"))
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
        # Over plain HTTP, which a proxy can answer.
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")

    @pytest.fixture
    def kaggle(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
        """The server, instead of Kaggle."""
        server = Kaggle()
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        with serving(server):
            yield server

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
        """Download the preset, and compare it with the content of the server."""
        folder = Path(download_all(find_preset(name)).location)
        found, expected = (
            {str(file.relative_to(each)): file.read_bytes() for file in each.rglob("*") if file.is_file()}
            for each in (folder, BUNDLED_FOLDER)
        )
        assert found == expected
        return folder

    def test_no_credentials(self, kaggle: Kaggle) -> None:
        message = self.refused()
        assert not kaggle.asked
        assert "no Kaggle credentials were found" in message
        assert "kagglehub.login()" in message

    @pytest.mark.parametrize(
        ("status", "name", "message"),
        [
            (401, "gemma_7b_en", "Kaggle refused the credentials that were found"),
            (403, "gemma_7b_en", "accept the licence at https://www.kaggle.com/models/keras/gemma and run again"),
            (404, "kaggle://keras/gemma/keras/gemma_9b_en/1", "check the name and the version"),
            (503, "gemma_7b_en", "Kaggle answered with status 503 for gemma_7b_en: run again later"),
        ],
    )
    def test_each_refusal(self, credentials: None, kaggle: Kaggle, status: int, name: str, message: str) -> None:
        kaggle.status = status
        assert message in self.refused(name)
        assert kaggle.asked == ["config.json"]

    def test_not_a_handle(self) -> None:
        assert "a Kaggle handle is kaggle://owner/model/keras/variant/version" in self.refused("kaggle://gemma")

    def test_no_network(self, credentials: None, kaggle: Kaggle) -> None:
        kaggle.shutdown()
        kaggle.server_close()
        assert "Kaggle could not be reached for gemma_7b_en (ProxyError): check the network" in self.refused()

    def test_unreadable_credentials(self, tmp_path: Path) -> None:
        (tmp_path / "credentials").mkdir()
        (tmp_path / "credentials" / "kaggle.json").write_text("{")
        assert "download it again from kaggle.com" in self.refused()

    def test_a_downloaded_preset_needs_no_network(
        self, credentials: None, kaggle: Kaggle, capfd: pytest.CaptureFixture
    ) -> None:
        """Kaggle's client draws no bar of its own."""
        reported: list[str] = []
        preset = download_all(find_preset("gemma_7b_en"), reported.append)
        assert reported == [f"downloading 8 files with 5.4 MB from Kaggle to {preset.location}"]
        assert "%|" not in capfd.readouterr().err
        kaggle.status = 503
        kaggle.names = []
        self.loaded()

    def test_two_at_once(self, credentials: None, kaggle: Kaggle) -> None:
        """The second waits for the first, and then downloads nothing."""
        preset = find_preset("gemma_7b_en")
        kaggle.faults[WEIGHTS] = ["slow"]
        reported: tuple[list[str], list[str]] = ([], [])
        threads = [threading.Thread(target=download_all, args=(preset, texts.append)) for texts in reported]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(texts[0].partition(" ")[0] for texts in reported) == ["another", "downloading"]
        assert [len(texts) for texts in reported] == [1, 1]
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
    def test_an_interrupted_download_is_resumed(
        self, credentials: None, impatient: None, kaggle: Kaggle, fault: str
    ) -> None:
        kaggle.faults[WEIGHTS] = [fault]
        self.loaded()
        asked = [path for path in kaggle.asked if WEIGHTS in path]
        assert asked[:2] == [WEIGHTS, WEIGHTS]
        # A reset may discard received data.
        assert len(asked) == 3 or fault == "reset"

    def test_a_download_that_is_always_interrupted(self, credentials: None, kaggle: Kaggle) -> None:
        """Two attempts without data are the last; the next run resumes, and compares the hash."""
        kaggle.faults[WEIGHTS] = ["cut"] * 99
        message = self.refused()
        lost = rf"was lost in {WEIGHTS} of gemma_7b_en, after \d\.\d MB \(.*\): check the network and run again"
        assert re.search(lost, message)
        kaggle.faults[WEIGHTS] = []
        kaggle.asked.clear()
        self.loaded()
        assert [path for path in kaggle.asked if WEIGHTS in path][1].startswith(f"{WEIGHTS} from ")

    @pytest.mark.parametrize("path", ["config.json", WEIGHTS])
    def test_a_file_that_does_not_match(self, credentials: None, kaggle: Kaggle, path: str) -> None:
        kaggle.faults[path] = ["changed"]
        assert f"{path} of gemma_7b_en differs from Kaggle's (by its MD5), and was deleted" in self.refused()
        self.loaded()

    def test_a_file_of_the_right_size_is_compared(self, credentials: None, kaggle: Kaggle) -> None:
        """The client would take it for complete."""
        folder = _cached("config.json").parent
        (folder / WEIGHTS).write_bytes(bytes(len(kaggle.content(WEIGHTS))))
        assert "differs from Kaggle's" in self.refused()
        self.loaded()

    def test_a_file_that_is_too_long(self, credentials: None, kaggle: Kaggle) -> None:
        """A server answers an impossible range with a page, which the client would append."""
        kaggle.faults[WEIGHTS] = ["range refused"]
        folder = _cached("config.json").parent
        (folder / WEIGHTS).write_bytes(b"of another version")
        self.loaded()

    @pytest.mark.parametrize("path", ["config.json", WEIGHTS])
    def test_a_page_instead_of_a_file(self, credentials: None, kaggle: Kaggle, path: str) -> None:
        """As the network of a hotel answers each request."""
        kaggle.contents[path] = b"<html>Welcome! Please log in.</html>"
        assert re.search(rf"{re.escape(path)} .*is damaged", self.refused())
        kaggle.contents.clear()
        self.loaded()

    def test_a_full_disk(
        self, credentials: None, kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))
        assert "gemma_7b_en needs 5.4 MB more on disk, and 1.0 MB are free" in self.refused()
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
        full = rf"{WEIGHTS} of gemma_7b_en cannot be written to .*cache \(File too large\): fix that"
        assert re.search(full, message)
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
            # As kagglehub.login() does with the input of its form.
            kagglehub.config.set_kaggle_credentials("learner", "0123456789abcdef")
        try:
            assert find_preset("gemma_2b_en").settings == TUTORIAL_SETTINGS
        finally:
            kagglehub.config.clear_kaggle_credentials()
        assert kaggle.asked == ["config.json"]

    @pytest.mark.parametrize("by", ["name", "folder"])
    def test_it_loads(self, credentials: None, kaggle: Kaggle, mesh_1x8: Any, by: str) -> None:
        """By its name through KerasHub, or from the folder of a download."""
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
    """A file of gemma_7b_en in the cache of Kaggle's client, as an interrupted run leaves it."""
    import keras_hub

    return kaggle_files.download("gemma_7b_en", keras_hub.models.CausalLM.presets["gemma_7b_en"]["kaggle_handle"], path)
