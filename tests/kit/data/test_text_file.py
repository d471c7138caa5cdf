"""Files of reviews: what is read, and what is refused by its first bytes or its content."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pytest

from kit.data.reviews import load_reviews
from kit.data.text_file import read_lines
from kit.errors import UserError

REVIEWS = [
    'I liked it, really; "Alien" is a film, a good one.',
    "Très bien, 10 of 10.",
    '"Brazil" is odd, and long: I left early',
    "{not json} [nor this]",
]
TEXT = "\n".join(REVIEWS) + "\n"


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("reviews.txt", TEXT)
    return content.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_without_byte_order_mark_or_ends_of_lines(encoding: str, end: str) -> None:
    assert read_lines(TEXT.replace("\n", end).encode(encoding)) == [*REVIEWS, ""]


REFUSED = {
    "gzip": (gzip.compress(TEXT.encode()), "it is compressed with gzip: unpack it"),
    "bzip2": (bz2.compress(TEXT.encode()), "it is compressed with bzip2"),
    "xz": (lzma.compress(TEXT.encode()), "it is compressed with xz"),
    "zip": (zipped(), "it is a zip archive"),
    "parquet": (b"PAR1\x15\x04", "it is a Parquet file"),
    "utf-16 without a mark": (TEXT.encode("utf-16-le"), "UTF-16 without a byte order mark"),
    "latin 1": (TEXT.encode("latin1"), "is not UTF-8: convert the file"),
    "cut utf-16": (TEXT.encode("utf-16")[:-1], "is not UTF-16"),
    "jsonl": (b'{"text": "good", "label": 1}\n{"text": "bad", "label": 0}\n', "each line is a JSON object"),
    "json": (b'[\n "good",\n "bad"\n]\n', "it is a JSON document"),
    "html": (b"<!DOCTYPE html>\n<p>good</p>\n", "it is HTML"),
    "csv": (b'review,sentiment\n"good, and long",positive\nbad,negative\n', "it is a table (CSV)"),
    "csv without a header": (b'"good, and long",1\n"bad",0\n', "it is a table (CSV)"),
    "csv with other columns": (b"film,opinion,stars\nAlien,good,5\nBrazil,bad,1\n", "it is a table (CSV)"),
    "tsv": (b"label\ttext\n1\tgood, and long\n0\tbad\n", "it is a table (TSV)"),
    "semicolons": (b"text;label\ngood;1\nbad;0\n", "it is a table (CSV with semicolons)"),
    "quoted line breaks": (b'"good\nand long"\n"bad\nand short"\n', "quoted line breaks"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_formats_are_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    content, message = REFUSED[name]
    file = tmp_path / "reviews.txt"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_reviews(f"file:{file}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reviews_with_commas_and_quotes_are_no_table() -> None:
    lines = ['"A film, a good one"', '"Another", he said, and left']
    assert read_lines("\n".join(lines).encode()) == lines
    assert read_lines(b"Good, 10\nBad; 2\nA long review, with commas, and more\n")[:2] == ["Good, 10", "Bad; 2"]
