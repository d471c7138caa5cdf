"""Files of presets from Kaggle, by Kaggle's own client; each failure is one sentence.

This module adds what the client lacks. The client sets no time limit, so that it hangs if a server
stalls. It ignores the status of the answer when it resumes, and would append an error page to the
weights. It also treats a file of the right size from an earlier process as complete, without
checking its hash.
"""

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kit.errors import UserError
from kit.files import wait_for_lock
from kit.formatting import format_bytes
from kit.runtime.downloads import bar_class
from kit.runtime.platform import gpu_is_attached, tpu_is_attached

#: Time limits for a connection, and between two bytes of an answer.
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0

CREDENTIALS_REMEDY = (
    "set KAGGLE_USERNAME and KAGGLE_KEY, or put kaggle.json into ~/.kaggle (kaggle.com, Settings, API, "
    "Create New Token), or call kagglehub.login()"
)

_NO_NETWORK_NEEDED = "or give a folder with the preset. `--preset bundled` needs no network."


def has_kaggle_credentials() -> bool:
    """Whether Kaggle's client finds credentials. Raises UserError if it cannot read them."""
    from kagglehub.config import get_kaggle_credentials

    try:
        # A notebook on Kaggle is authorized itself.
        return get_kaggle_credentials() is not None or "KAGGLE_KERNEL_RUN_TYPE" in os.environ
    except ValueError as error:
        raise UserError(f"{error}: download it again from kaggle.com, Settings, API, Create New Token.") from None


def parse_handle(name: str, handle: str) -> Any:
    """Kaggle's own form of ``kaggle://owner/model/keras/variant[/version]``.

    Raises UserError, with the preset's name, if it is not such a handle.
    """
    from kagglehub.handle import parse_model_handle

    try:
        return parse_model_handle(handle.removeprefix("kaggle://"))
    except ValueError:
        raise UserError(f"--preset {name}: a Kaggle handle is kaggle://owner/model/keras/variant/version.") from None


def download(name: str, handle: str, path: str, parameters: int | None = None) -> Path:
    """Download one file of a preset, or find it in the cache of Kaggle's client.

    An interrupted download is resumed, until two attempts in a row bring nothing. The name and the
    number of parameters are for messages. Raises UserError without credentials, an accepted licence
    or a network; if the file does not exist, is not received completely, or cannot be written.
    """
    import kagglehub
    import requests
    from kagglehub.cache import Cache

    parsed = parse_handle(name, handle)
    cached = Cache().load_from_cache(parsed, path) if parsed.is_versioned() else None
    if cached:
        return Path(cached)
    _require_credentials(name, parsed, parameters)
    partial = Path(Cache().get_path(parsed, path))
    with _failures(name, parsed, path), _client_with_limits(path):
        fruitless = 0
        while True:
            had = _drop_last_byte(partial)
            try:
                return Path(kagglehub.model_download(handle.removeprefix("kaggle://"), path))
            except _RangeRefusedError:
                if not partial.is_file():  # without a version, only the client knows the folder
                    raise
                partial.unlink()
            except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError):
                fruitless = 0 if _size(partial) > had else fruitless + 1
                if fruitless == 2 or not partial.is_file():
                    raise


def download_preset(name: str, handle: str, report: Callable[[str], None]) -> Path | None:
    """Download all files of a preset, or wait while another process does.

    ``kit.runtime.downloads`` shows the progress of each file. ``report`` is called with a sentence
    about what is downloaded, if anything is.

    Returns the folder with all files; None if they are not in the cache of Kaggle's client, because
    a notebook on Kaggle or Colab mounts them. Raises UserError as :func:`download`, and if the disk
    has not enough space.
    """
    from kagglehub.cache import Cache
    from kagglehub.config import get_cache_folder

    cache, parsed = Cache(), parse_handle(name, handle)
    if not cache.load_from_cache(parsed, "config.json"):
        return None
    folder = Path(cache.get_path(parsed))
    if cache.load_from_cache(parsed):
        return folder
    with _failures(name, parsed, "lock"):
        # Two processes must not write to the same files.
        lock = wait_for_lock(
            Path(get_cache_folder()) / f".{'-'.join(folder.parts[-5:])}.lock",
            lambda: report(f"another process downloads {name}: waiting for it"),
        )
        try:
            if not cache.load_from_cache(parsed):
                _download_missing(name, handle, report)
                cache.mark_as_complete(parsed)
        finally:
            lock.release()
    return folder


def delete_damaged(name: str, handle: str, path: str) -> None:
    """Delete a damaged file of a preset, so that the next run downloads it again."""
    from kagglehub.cache import Cache

    parsed = parse_handle(name, handle)
    Cache().mark_as_incomplete(parsed)
    Cache().delete_from_cache(parsed, path)


def versioned_handle(name: str, handle: str, file: Path) -> str:
    """The handle with the version that a file at the top of its preset was downloaded from."""
    parsed = parse_handle(name, handle)
    version = file.parent.name
    return handle if parsed.is_versioned() or not version.isdigit() else f"{handle}/{version}"


def _require_credentials(name: str, parsed: Any, parameters: int | None) -> None:
    if has_kaggle_credentials():
        return
    size = f", and for its {parameters * 4 / 1e9:.1f} GB of float32 weights an accelerator" if parameters else ""
    attached = "" if tpu_is_attached() or gpu_is_attached() or not parameters else " (none is attached here)"
    raise UserError(
        f"{name} needs a Kaggle account that has accepted Gemma's licence{size}{attached}; no Kaggle credentials "
        f"were found: accept the licence at {_page(parsed)}, then {CREDENTIALS_REMEDY}."
    )


def _page(parsed: Any) -> str:
    return f"https://www.kaggle.com/models/{parsed.owner}/{parsed.model}"


def _download_missing(name: str, handle: str, report: Callable[[str], None]) -> None:
    from kagglehub.cache import Cache

    cache, parsed = Cache(), parse_handle(name, handle)
    folder = Path(cache.get_path(parsed))
    _require_credentials(name, parsed, None)
    sizes = _list_files(name, parsed)
    missing = {path: size for path, size in sizes.items() if not cache.load_from_cache(parsed, path)}
    left = sum(max(0, size - _size(folder / path)) for path, size in missing.items())
    free = shutil.disk_usage(folder).free
    if left > free:
        raise UserError(
            f"{name} needs {format_bytes(left)} more on disk, and {format_bytes(free)} are free "
            f"at {folder}: free some space, "
            "or set KAGGLEHUB_CACHE to a folder with more space."
        )
    if missing:
        report(f"downloading {len(missing)} files with {format_bytes(left)} from Kaggle to {folder}")
    for path in missing:
        download(name, handle, path)


def _list_files(name: str, parsed: Any) -> dict[str, int]:
    """The files of a version of a preset, with their bytes (0 if Kaggle does not state them)."""
    from kagglehub.clients import build_kaggle_client
    from kagglehub.exceptions import handle_call
    from kagglesdk.models.types.model_api_service import (  # type: ignore[import-untyped]
        ApiListModelInstanceVersionFilesRequest,
    )

    request = ApiListModelInstanceVersionFilesRequest()
    request.owner_slug, request.model_slug, request.instance_slug = parsed.owner, parsed.model, parsed.variation
    request.framework, request.version_number = parsed.framework_enum(), parsed.version
    sizes: dict[str, int] = {}
    with _failures(name, parsed, "list of files"), _client_with_limits(), build_kaggle_client() as client:
        while True:
            answer = handle_call(lambda: client.models.model_api_client.list_model_instance_version_files(request))
            sizes |= {file.name: file.size for file in answer.files}
            if not answer.next_page_token:
                return sizes
            request.page_token = answer.next_page_token


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _drop_last_byte(partial: Path) -> int:
    """Drop a partial file's last byte, so that the client asks for the rest; return the size."""
    size = _size(partial)
    if size:
        os.truncate(partial, size - 1)
    return max(0, size - 1)


class _RangeRefusedError(Exception):
    """The server does not resume a download where it was interrupted."""


@contextlib.contextmanager
def _client_with_limits(path: str = "") -> Iterator[None]:
    """Give requests of Kaggle's client a time limit, and refuse ranges that were not requested.

    What it downloads is shown as ``path``.
    """
    import kagglehub.clients
    import requests

    send, bar = requests.Session.send, kagglehub.clients.tqdm

    def send_with_limits(session: Any, request: Any, **options: Any) -> Any:
        options["timeout"] = (CONNECT_SECONDS, READ_SECONDS)
        response = send(session, request, **options)
        if "Range" in request.headers and response.status_code != 206 and not response.is_redirect:
            response.close()
            raise _RangeRefusedError
        return response

    # The client creates its sessions itself.
    requests.Session.send = send_with_limits  # type: ignore[assignment, method-assign]
    kagglehub.clients.tqdm = functools.partial(bar_class(), desc=path)
    try:
        yield
    finally:
        requests.Session.send = send  # type: ignore[method-assign]
        kagglehub.clients.tqdm = bar


@contextlib.contextmanager
def _failures(name: str, parsed: Any, path: str) -> Iterator[None]:
    """Turn exceptions of Kaggle's client into one sentence with a remedy."""
    import requests
    from kagglehub.cache import Cache
    from kagglehub.config import get_cache_folder
    from kagglehub.exceptions import DataCorruptionError, KaggleApiHTTPError, UnauthenticatedError

    try:
        yield
    except (KaggleApiHTTPError, UnauthenticatedError) as error:
        raise UserError(_refusal(name, parsed, path, error)) from None
    except _RangeRefusedError:
        raise UserError(
            f"Kaggle does not resume the interrupted download of {path} of {name}: delete "
            f"{Path(Cache().get_path(parsed)).parent} and run again."
        ) from None
    except DataCorruptionError:
        raise UserError(
            f"{path} of {name} differs from Kaggle's (by its MD5), and was deleted: run again. If that does not help, "
            f"something such as a proxy changes the data: try another network, {_NO_NETWORK_NEEDED}"
        ) from None
    except requests.exceptions.RequestException as error:
        partial = Path(Cache().get_path(parsed, path))
        if partial.is_file():
            raise UserError(
                f"The connection to Kaggle was lost in {path} of {name}, after {format_bytes(_size(partial))} "
                f"({type(error).__name__}): check the network and run again, to resume the download."
            ) from None
        if isinstance(error, requests.exceptions.ReadTimeout):
            raise UserError(
                f"Kaggle did not answer for {name} within {READ_SECONDS:g} s: check the network and run again, "
                f"{_NO_NETWORK_NEEDED}"
            ) from None
        raise UserError(
            f"Kaggle could not be reached for {name} ({type(error).__name__}): check the network, {_NO_NETWORK_NEEDED}"
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} of {name} cannot be written to {get_cache_folder()} ({error.strerror}): fix that, or set "
            "KAGGLEHUB_CACHE to a writable folder with enough space."
        ) from None


def _refusal(name: str, parsed: Any, path: str, error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", 401)
    if status == 401:
        return f"Kaggle refused the credentials that were found: {CREDENTIALS_REMEDY}."
    if status == 403:
        return f"Kaggle refuses {name} to this account: accept the licence at {_page(parsed)} and run again."
    if status == 404:
        return f"Kaggle has no {path} of {name} ({parsed}): check the name and the version."
    return f"Kaggle answered with status {status} for {name}: run again later."
