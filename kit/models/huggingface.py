"""Models from Hugging Face, by its own client; each failure is one sentence.

This module adds what the client lacks. The client deletes what it has received of a file when the
connection is lost. It sets no time limit for some requests, and waits half a minute before it says
that there is no network. It does not compare the hash of a file that comes by plain HTTP.
"""

import contextlib
import functools
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

from kit.errors import UserError
from kit.files import wait_for_lock
from kit.formatting import format_bytes
from kit.models import transformers_format
from kit.models.transformers_format import INDEX, WEIGHTS
from kit.runtime.downloads import bar_class

SCHEME = "hf://"
#: Time limits for a connection, and between two bytes of an answer.
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0

TOKEN_REMEDY = (
    "create a token with the right to read at https://huggingface.co/settings/tokens, and set HF_TOKEN to it, or run "
    "`hf auth login`"
)
_NO_NETWORK_NEEDED = "or give a folder with the model. `--preset bundled` needs no network."
#: What is needed of a model in transformers' format, besides its weights.
_SMALL_FILES = ("config.json", "tokenizer.model", "tokenizer.json")
#: KerasHub's weights: one file, or an index of several.
_KERASHUB_WEIGHTS, _KERASHUB_INDEX = "model.weights.h5", "model.weights.json"
_KERASHUB_VOCABULARY = "assets/tokenizer/vocabulary.spm"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubModel:
    """A model on Hugging Face at a revision, and how the user named it."""

    name: str
    repo: str
    #: A branch, a tag, or a commit.
    revision: str = "main"

    @property
    def page(self) -> str:
        """Where its licence is accepted."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{self.repo}"

    def cached(self, path: str) -> Path | None:
        """A file in the client's cache."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repo, path, revision=self.revision)
        return Path(found) if isinstance(found, str) else None


def has_token() -> bool:
    """Whether the client finds a token."""
    from huggingface_hub import get_token

    return get_token() is not None


def parse_name(name: str) -> HubModel:
    """Read ``hf://owner/model`` or ``hf://owner/model@revision``. Raises UserError for others."""
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if not found:
        raise UserError(
            f"--preset {name}: a model of Hugging Face is hf://owner/model or hf://owner/model@revision, such as "
            "hf://google/gemma-3-1b-pt."
        )
    return HubModel(name, found[1], found[2] or "main")


def find_config(name: str) -> tuple[Path, str]:
    """Download the ``config.json`` of a model, or find it in the client's cache.

    Returns it, and the name with the commit that it is from: a commit in the cache needs no
    network. Raises UserError if the model is unknown or closed to the user, or without a network.
    """
    model = parse_name(name)
    file = model.cached("config.json") if _COMMIT.fullmatch(model.revision) else None
    if file is None:
        file = _newest_config(model)
    # .../snapshots/COMMIT/config.json
    if not transformers_format.is_json(file):
        delete_damaged(f"{SCHEME}{model.repo}@{file.parent.name}", "config.json")
        raise UserError(f"config.json of {name} is damaged, and was deleted: run again to download it.")
    return file, f"{SCHEME}{model.repo}@{file.parent.name}"


def _newest_config(model: HubModel) -> Path:
    try:
        _list_files(model)
        return _download_small(model, "config.json")
    except _NoNetworkError as error:
        if file := model.cached("config.json"):
            return file
        raise UserError(str(error)) from None


def download_model(name: str, report: Callable[[str], None]) -> Path:
    """Download the configuration, the tokenizer and the weights of a model at a commit.

    ``report`` is called with a sentence about what is downloaded, if anything is; the progress of
    each file is shown by ``kit.runtime.downloads``. Another process that downloads the same model
    is waited for.

    Returns the folder in the client's cache; if it has all files, no network is needed. Raises
    UserError as :func:`find_config`, and if the disk has not enough space.
    """
    from huggingface_hub import constants

    model = parse_name(name)
    if folder := _complete_folder(model):
        return folder
    cache = Path(constants.HF_HUB_CACHE)
    try:
        with _failures(model, "lock"):
            (cache / ".locks").mkdir(parents=True, exist_ok=True)
            lock = wait_for_lock(
                cache / ".locks" / f"kit--{model.repo.replace('/', '--')}.lock",
                lambda: report(f"another process downloads {model.repo}: waiting for it"),
            )
        try:
            return _complete_folder(model) or _download_missing(model, report)
        finally:
            lock.release()
    except _NoNetworkError as error:
        raise UserError(str(error)) from None


def delete_damaged(name: str, path: str) -> None:
    """Delete a damaged file from the cache, so that the next run downloads it again."""
    file = parse_name(name).cached(path)
    if file is not None:
        blob = file.resolve()
        file.unlink()
        blob.unlink(missing_ok=True)


def _complete_folder(model: HubModel) -> Path | None:
    """The folder of a commit in the cache, if it has all files."""
    config = model.cached("config.json")
    if config is None:
        return None
    folder = config.parent
    # Another program may have downloaded a part.
    if transformers_format.has_transformers_config(folder):
        has_tokenizer = transformers_format.has_tokenizer(folder)
    else:
        has_tokenizer = (folder / _KERASHUB_VOCABULARY).is_file()
    weights = _weights(folder)
    return folder if has_tokenizer and weights and all((folder / path).is_file() for path in weights) else None


def _weights(folder: Path) -> list[str]:
    """The files with weights, from the files that are there; none if these do not show it."""
    single, index = (_KERASHUB_WEIGHTS, _KERASHUB_INDEX)
    if transformers_format.has_transformers_config(folder):
        single, index = WEIGHTS, INDEX
    if not (folder / index).is_file():
        return [single] if (folder / single).is_file() else []
    try:
        return transformers_format.files_of_index(folder / index)
    except ValueError:
        # The check of the folder names the damaged index.
        return [index]


def _download_missing(model: HubModel, report: Callable[[str], None]) -> Path:
    from huggingface_hub import constants

    sizes = _list_files(model)
    folder = _download_small(model, "config.json").parent
    needed: tuple[str, ...] = _SMALL_FILES
    single, index = WEIGHTS, INDEX
    if not transformers_format.has_transformers_config(folder):
        kerashub = ("tokenizer.json", "task.json", "preprocessor.json", "metadata.json", "finetuning.json")
        needed, single, index = (*kerashub, _KERASHUB_VOCABULARY), _KERASHUB_WEIGHTS, _KERASHUB_INDEX
    if index not in sizes and single not in sizes:
        raise UserError(
            f"{model.name} has no {single} and no {index} on Hugging Face: use a model whose weights are safetensors."
        )
    for path in (*needed, index):
        if path in sizes:
            _download_small(model, path)
    files = _weights(folder) or [single]
    missing = [path for path in files if model.cached(path) is None]
    left = sum(max(0, sizes.get(path, 0) - _size(_partial(model, path))) for path in missing)
    _require_space(model, left, Path(constants.HF_HUB_CACHE))
    if missing:
        report(
            f"downloading {len(missing)} file{'s' * (len(missing) > 1)} with {format_bytes(left)} from Hugging Face to "
            f"{folder}"
        )
    for path in missing:
        _download_weights(model, path, report)
    return folder


def _download_small(model: HubModel, path: str) -> Path:
    """Download a small file, or find it in the cache."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    with _failures(model, path):
        if not (_COMMIT.fullmatch(model.revision) and model.cached(path)):
            # Fails at once; hf_hub_download repeats it for minutes.
            get_hf_file_metadata(hf_hub_url(model.repo, path, revision=model.revision), timeout=CONNECT_SECONDS)
        return Path(hf_hub_download(model.repo, path, revision=model.revision, tqdm_class=bar_class()))


def _require_space(model: HubModel, left: int, cache: Path) -> None:
    free = shutil.disk_usage(cache).free
    if left > free:
        raise UserError(
            f"{model.name} needs {format_bytes(left)} more on disk, and {format_bytes(free)} are free at {cache}: free "
            "some space, or set HF_HOME to a folder with more space."
        )


def _list_files(model: HubModel) -> dict[str, int]:
    """The files of a revision and their bytes (0 if Hugging Face does not state them)."""
    from huggingface_hub import HfApi

    with _failures(model, "list of files"):
        try:
            found = HfApi().model_info(
                model.repo, revision=model.revision, files_metadata=True, timeout=CONNECT_SECONDS
            )
        except ValueError as error:
            if isinstance(error, OSError):
                raise
            raise UserError(
                f"The answer for {model.name} is not Hugging Face's: log in to the network first if it asks for a "
                f"login, {_NO_NETWORK_NEEDED}"
            ) from None
    return {file.rfilename: file.size or 0 for file in found.siblings or ()}


def _download_weights(model: HubModel, path: str, report: Callable[[str], None]) -> None:
    """Download a large file: by Xet where the client does, otherwise so that it can be resumed."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    with _failures(model, path):
        partial = _partial(model, path)
        url = hf_hub_url(model.repo, path, revision=model.revision)
        metadata = get_hf_file_metadata(url, timeout=CONNECT_SECONDS)
        by_xet = metadata.xet_file_data is not None and not constants.HF_HUB_DISABLE_XET and find_spec("hf_xet")
        if metadata.etag and (not by_xet or _size(partial)):
            blob = partial.parent / metadata.etag
            if not blob.exists():
                blob.parent.mkdir(parents=True, exist_ok=True)
                _download_resumably(model, path, url, metadata, report)
                partial.replace(blob)
        try:
            # Links the file, or downloads it by Xet.
            hf_hub_download(model.repo, path, revision=model.revision, tqdm_class=bar_class())
        except (RuntimeError, OSError) as error:
            if isinstance(error, OSError) and not type(error).__name__.startswith("Xet"):
                raise
            raise UserError(
                f"Xet could not download {path} of {model.name} ({str(error).rpartition(': ')[2]}): check the network, "
                f"and the free space at {constants.HF_HUB_CACHE}, and run again; with HF_HUB_DISABLE_XET=1 an "
                "interrupted download is resumed."
            ) from None


def _download_resumably(model: HubModel, path: str, url: str, metadata: Any, report: Callable[[str], None]) -> None:
    """Download the rest of a partial file, and compare its SHA-256."""
    import httpx2
    from huggingface_hub.utils._headers import build_hf_headers

    partial = _partial(model, path)
    if metadata.size is not None and _size(partial) > metadata.size:
        partial.unlink()
    if had := _size(partial):
        report(f"{path}: {format_bytes(had)} are here already")
    headers = build_hf_headers()
    if urlparse(metadata.location).netloc != urlparse(url).netloc:
        # A store has its own signature in the address, and must not see the token.
        headers.pop("authorization", None)
    fruitless, same = 0, None
    while same is None:
        had = _size(partial)
        try:
            same = _append(partial, path, metadata, headers)
        except httpx2.TransportError:
            # The client resumes after some of these errors, and not after others.
            fruitless = 0 if _size(partial) > had else fruitless + 1
            if fruitless == 2:
                raise
    if not same:
        partial.unlink()
        raise UserError(
            f"{path} of {model.name} differs from Hugging Face's (by its SHA-256), and was deleted: run again. If that "
            "does not help, something such as a proxy changes the data: try another network, " + _NO_NETWORK_NEEDED
        )


def _append(partial: Path, path: str, metadata: Any, headers: dict[str, str]) -> bool:
    """Download the rest of a file; returns whether its size and its SHA-256 are as stated."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    with partial.open("ab") as file:
        hashed = _HashedFile(file, partial)
        try:
            http_get(
                metadata.location,
                hashed,  # type: ignore[arg-type]  # has the methods that the client calls
                resume_size=_size(partial),
                headers=headers,
                expected_size=metadata.size,
                displayed_filename=path,
                tqdm_class=bar_class(),
            )
        except OSError as error:
            if error.errno is not None or isinstance(error, HfHubHTTPError):
                raise
            return False  # it has another size
    return len(metadata.etag) != 64 or hashed.sha256.hexdigest() == metadata.etag


class _HashedFile:
    """A file that is appended to, and the SHA-256 of all of it."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        with path.open("rb") as existing:
            self.sha256 = hashlib.file_digest(existing, "sha256")

    def write(self, content: bytes) -> int:
        self.sha256.update(content)
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def truncate(self) -> int:
        """Start again: the server sends the whole file where the rest was asked for."""
        self.sha256 = hashlib.sha256()
        return self._file.truncate()


def _partial(model: HubModel, path: str) -> Path:
    """Where the beginning of a file is kept, beside the client's own files."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model.repo, repo_type="model") / "blobs"
    return blobs / f"kit.{model.revision}.{path.replace('/', '--')}.incomplete"


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


class _NoNetworkError(Exception):
    """Hugging Face cannot be reached."""


@functools.cache
def _limit_client() -> None:
    """Give requests for which the client sets no time limit one, and Xet shorter ones.

    By default Xet waits 300 s for an answer, several times.
    """
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def with_limits() -> Any:
        import httpx2

        client = default_client_factory()
        client.timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        return client

    set_client_factory(with_limits)
    os.environ.setdefault("HF_XET_CLIENT_CONNECT_TIMEOUT", f"{CONNECT_SECONDS:g}s")
    os.environ.setdefault("HF_XET_CLIENT_READ_TIMEOUT", f"{READ_SECONDS:g}s")
    os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2")


@contextlib.contextmanager
def _failures(model: HubModel, path: str) -> Iterator[None]:
    """Turn exceptions of the client into one sentence with a remedy."""
    import httpx2
    from huggingface_hub import constants, errors

    _limit_client()
    try:
        yield
    except (UserError, _NoNetworkError):
        raise
    except errors.LocalEntryNotFoundError as error:
        raise _NoNetworkError(_unreached(model, error.__cause__ or error)) from None
    except errors.EntryNotFoundError:
        raise UserError(f"{model.name} has no {path} on Hugging Face: check the name and the revision.") from None
    except errors.HfHubHTTPError as error:
        raise UserError(_refusal(model, error)) from None
    except (httpx2.TransportError, errors.OfflineModeIsEnabled) as error:
        if received := _size(_partial(model, path)):
            raise UserError(
                f"The connection to Hugging Face was lost in {path} of {model.name}, after {format_bytes(received)} "
                f"({type(error).__name__}): check the network and run again, to resume the download."
            ) from None
        raise _NoNetworkError(_unreached(model, error)) from None
    except OSError as error:
        if error.errno is None:
            raise UserError(
                f"{path} of {model.name} was not received completely: check the network and run again."
            ) from None
        raise UserError(
            f"{path} of {model.name} cannot be written to {constants.HF_HUB_CACHE} ({error.strerror}): fix "
            "that, or set HF_HOME to a writable folder with enough space."
        ) from None


def _unreached(model: HubModel, error: BaseException) -> str:
    return (
        f"Hugging Face could not be reached for {model.name} ({type(error).__name__}), and the client's cache does not "
        f"have it: check the network, {_NO_NETWORK_NEEDED}"
    )


def _refusal(model: HubModel, error: Any) -> str:
    from huggingface_hub import errors

    status = error.response.status_code
    accept = f"accept its licence at {model.page}"
    if isinstance(error, errors.GatedRepoError) or status == 403:
        if not has_token():
            return (
                f"{model.name} needs an account that has accepted its licence, and no token was found: {accept}, then "
                f"{TOKEN_REMEDY}."
            )
        if status == 401:
            return f"Hugging Face refused the token that was found: {TOKEN_REMEDY}."
        return (
            f"Hugging Face refuses {model.name} to this token: {accept} with the token's account, or give the token "
            "the right to read public gated models, and run again."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"Hugging Face has no revision {model.revision} of {model.repo}: check it at {model.page}."
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        hidden = "" if has_token() else f"; if it is private, {TOKEN_REMEDY}"
        return f"Hugging Face has no model {model.repo}: check the name{hidden}."
    if status == 401:
        return f"Hugging Face refused the token that was found: {TOKEN_REMEDY}."
    return f"Hugging Face answered with status {status} for {model.name}: run again later."
