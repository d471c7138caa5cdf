"""A program that writes the train split of a TFDS data set of (text, label) to a JSON file.

If that fails, the file says why: ``{"fault": kind, "found": text}``. TensorFlow and TFDS log to
standard error; standard output has only what the user should see while it downloads: lines, and
between them the progress, as lines of JSON after :data:`PROGRESS`.
"""

import contextlib
import difflib
import importlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TextIO

from kit.files import is_disk_error

#: Why a data set could not be read; ``kit.data.tfds`` has a sentence for each.
Fault = Literal["package", "unknown", "network", "status", "checksum", "disk", "content", "other"]

#: What TFDS counts, in words.
_TITLES = {"Dl Completed": "files", "Dl Size": "MiB", "Extraction completed": "extracted files"}
#: Begins a line with the progress: what, done, and the total or null.
PROGRESS = "\0"

#: Time limits for a connection, and between two bytes of an answer. TFDS itself sets none, and
#: would try eleven times, which takes five minutes without a network.
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
RETRIES = 2


class _FaultError(Exception):
    """A fault whose kind is known where it is raised."""

    def __init__(self, kind: Fault, found: str) -> None:
        super().__init__(found)
        self.kind = kind


def read(name: str, folder: str | None) -> list[tuple[str, int]]:
    """The train split of a data set, which is downloaded and prepared if it is not there yet."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # Nothing here computes: leave the accelerators to other processes.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    import tensorflow as tf
    import tensorflow_datasets as tfds

    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    _set_limits()
    builder = _find(tfds, name, folder)
    if not builder.is_prepared():
        print(f"kit: {name} is downloaded and prepared in {builder.data_dir}, which happens once", flush=True)
    with _progress_on_standard_output():
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False, compute_stats="skip")
        )
    if builder.info.supervised_keys is None or "train" not in builder.info.splits:
        raise _FaultError("content", f"features {list(builder.info.features)}, splits {list(builder.info.splits)}")
    dataset = builder.as_dataset(split="train", as_supervised=True)
    try:
        return [(text.decode("utf-8"), int(label)) for text, label in dataset.as_numpy_iterator()]
    except (AttributeError, TypeError, UnicodeDecodeError):
        raise _FaultError("content", f"features {dict(builder.info.features.items())}") from None


def _set_limits() -> None:
    # TFDS has no options for these.
    import requests

    downloader: Any = importlib.import_module("tensorflow_datasets.core.download.downloader")
    downloader.MAX_RETRIES = RETRIES
    unlimited = requests.Session.request

    def request(*arguments: Any, **options: Any) -> Any:
        return unlimited(*arguments, **{"timeout": (CONNECT_SECONDS, READ_SECONDS), **options})

    requests.Session.request = request  # type: ignore[method-assign]


def _find(tfds: Any, name: str, folder: str | None) -> Any:
    try:
        return tfds.builder(name, data_dir=folder, try_gcs=False)
    except (ValueError, AssertionError) as error:
        base = name.partition("/")[0].partition(":")[0]
        known = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(base, known, 3)
        if base not in known and close:
            raise _FaultError("unknown", f"did you mean {' or '.join(close)}?") from None
        raise _FaultError("unknown", str(error).strip().partition("\n")[0].partition(" Here are")[0]) from None


@contextlib.contextmanager
def _progress_on_standard_output() -> Iterator[None]:
    """Print the progress, in place of bars on standard error, and not what TFDS prints besides."""
    import tqdm.auto

    bar, output = tqdm.auto.tqdm, sys.stdout
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        tqdm.auto.tqdm = _bar_class(output)
        try:
            yield
        finally:
            tqdm.auto.tqdm = bar


def _bar_class(output: TextIO) -> type:
    """A class in place of tqdm that prints what it would draw as lines of JSON."""
    import tqdm

    class Bar(tqdm.tqdm):
        """Draws nothing itself."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": False, "file": io.StringIO()})

        def display(self, *_: Any, **__: Any) -> None:
            """Print the count in place of a bar."""
            title = self.desc.strip(" .:")
            what = _TITLES.get(title, title[:1].lower() + title[1:])
            print(PROGRESS + json.dumps([what, self.n, self.total]), file=output, flush=True)

    return Bar


def fault_of(error: BaseException) -> tuple[Fault, str]:
    """The kind of fault that an exception means, and what was found.

    The classes are compared by name: their packages may be what is missing.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    found = f"{type(error).__name__}: {error}"
    if isinstance(error, _FaultError):
        return error.kind, str(error)
    if isinstance(error, ImportError):
        return "package", (error.name or str(error)).partition(".")[0]
    if "RequestException" in names or "TransportError" in names:
        request = getattr(error, "request", None)
        host = str(getattr(request, "url", "") or "").partition("//")[2].partition("/")[0]
        return "network", (f"from {host} " if host else "") + f"({type(error).__name__})"
    if "DownloadError" in names:
        return "status", str(error).removesuffix(".")
    if "NonMatchingChecksumError" in names:
        return "checksum", str(error)
    if isinstance(error, OSError) and (is_disk_error(error) or "disk space" in str(error)):
        place = f"{error.filename}: " if error.filename else ""
        return "disk", place + (error.strerror or str(error))
    if names & {"ResourceExhaustedError", "PermissionDeniedError"}:
        return "disk", str(error)
    return "other", found


def main() -> None:
    """Take the data set's name, the file to write, and optionally the folder with prepared data."""
    name, output, *folder = sys.argv[1:]
    try:
        answer: dict[str, Any] = {"examples": read(name, folder[0] if folder else None)}
    except Exception as error:
        kind, found = fault_of(error)
        answer = {"fault": kind, "found": " ".join(found.split())[:300]}
    Path(output).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
