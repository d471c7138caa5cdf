"""Reading of TFDS data sets: the real process, up to its first request and beyond."""

import errno
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path

import pytest
from command_line import run_python

from kit.data.read_tfds import fault_of
from kit.data.reviews import load_reviews
from kit.errors import UserError

#: Where TFDS downloads the data set, from its source: importing it imports TensorFlow.
BUILDER = "tensorflow_datasets/datasets/imdb_reviews/imdb_reviews_dataset_builder.py"
IMDB = re.findall(r'_DOWNLOAD_URL = "(.+)"', distribution("tensorflow-datasets").locate_file(BUILDER).read_text())[0]
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class Stanford(ThreadingHTTPServer):
    """Answers in place of the server of IMDb's reviews, as a proxy."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status, self.content, self.missing = 200, b"", 0
        self.asked: list[str] = []


class _Answer(BaseHTTPRequestHandler):
    server: Stanford

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content) + self.server.missing))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


def use_proxy(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, address)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stanford(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stanford]:
    with Stanford() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use_proxy(f"http://127.0.0.1:{server.server_port}", monkeypatch)
        yield server
        server.shutdown()


def refusal(source: str) -> str:
    with pytest.raises(UserError) as caught:
        load_reviews(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_first_request_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """All packages are there: TFDS 4.9.10 needs one that it does not declare."""
    use_proxy("http://127.0.0.1:9", monkeypatch)  # a proxy without a server: this machine may have a network
    assert refusal(f"tfds:imdb_reviews@{tmp_path}") == (
        "--data tfds:imdb_reviews: the download from ai.stanford.edu (ProxyError) failed: check the network, and run "
        "again, or give a folder where it was prepared, as `--data tfds:imdb_reviews@FOLDER` or in TFDS_DATA_DIR."
    )
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("kit: imdb_reviews is downloaded and prepared in ")


def test_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorflow.py").write_text("import a_package.of_another\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    sentence = refusal("tfds:imdb_reviews")
    assert "the Python package a_package is not installed, which tensorflow_datasets needs" in sentence
    assert "pip install a_package`" in sentence
    assert "network" not in sentence


def test_a_process_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorflow.py").write_text("import os; os.kill(os.getpid(), 9)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    assert refusal("tfds:imdb_reviews").endswith("could not provide it (its process was ended by SIGKILL).")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), "disk"),
        (OSError("Not enough disk space. Needed: 80 MiB"), "disk"),
        (ModuleNotFoundError("No module named 'importlib_resources'", name="importlib_resources"), "package"),
        (RuntimeError("anything"), "other"),
    ],
)
def test_kinds_of_faults(error: Exception, kind: str) -> None:
    assert fault_of(error)[0] == kind


@pytest.mark.long
def test_answers_of_a_server(stanford: Stanford, tmp_path: Path) -> None:
    source = f"tfds:imdb_reviews@{tmp_path}"
    stanford.status = 404
    assert f"the server refuses it (Failed to get url {IMDB}. HTTP code: 404)" in refusal(source)
    assert stanford.asked == [IMDB]
    stanford.status, stanford.content = 200, b"<html>Please log in.</html>"
    assert "differs from what tensorflow_datasets expects" in refusal(source)
    stanford.missing = 100
    assert "the download (ChunkedEncodingError) failed" in refusal(source)


@pytest.mark.long
@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("tfds:imdb_review", "no such data set: did you mean imdb_reviews?"),
        ("tfds:imdb_reviews/words", "BuilderConfig words not found"),
        ("tfds:imdb_reviews@{file}/folder", "cannot write there ("),
    ],
)
def test_names_and_folders(source: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert sentence in refusal(source.format(file=file))


@pytest.mark.long
def test_what_is_downloaded_is_read(stanford: Stanford, tmp_path: Path) -> None:
    """The whole way of a first use, with an archive of four reviews."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in ("train/pos/0_9", "train/neg/0_2", "test/pos/0_9", "unsup/0_0"):
            text = f"A review <br /> of {name}, naïve.".encode()
            entry = tarfile.TarInfo(f"aclImdb/{name}.txt".replace("aclImdb/unsup", "aclImdb/train/unsup"))
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    stanford.content = content.getvalue()
    # The real archive's checksum is known, so TFDS must not compare it.
    code = f"""
import tensorflow_datasets as tfds
tfds.builder_cls("imdb_reviews").url_infos = {{}}
from kit.data.read_tfds import read
print("read:", sorted(read("imdb_reviews", {str(tmp_path)!r})))
"""
    expected = [("A review <br /> of train/neg/0_2, naïve.", 0), ("A review <br /> of train/pos/0_9, naïve.", 1)]
    assert run_python(code).stdout.splitlines()[-1] == f"read: {expected}"
    # A second use needs no server.
    stanford.status = 500
    assert sorted(load_reviews(f"tfds:imdb_reviews@{tmp_path}")) == expected
