"""The format of a file of reviews: text with one review per line, or what it is instead."""

import csv
import json
import re
from collections.abc import Iterable

#: First bytes of a file -> what it is, and how to make text of it.
_MAGIC = (
    (b"\x1f\x8b", "compressed with gzip", "unpack it with `gunzip`"),
    (b"PK\x03\x04", "a zip archive", "unpack it with `unzip`"),
    (b"BZh", "compressed with bzip2", "unpack it with `bunzip2`"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it with `unxz`"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it with `unzstd`"),
    (b"PAR1", "a Parquet file", "write the column with the reviews to a text file, one review per line"),
    (b"SQLite format 3\x00", "a database", "write the reviews to a text file, one per line"),
    (b"%PDF-", "a PDF", "write the reviews to a text file, one per line"),
    (b"\x89HDF", "an HDF5 file", "write the reviews to a text file, one per line"),
    (b"\x80\x04", "a pickle", "write the reviews to a text file, one per line"),
)
#: The longer ones first: UTF-32 begins like UTF-16.
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_COLUMNS = frozenset({"text", "review", "reviews", "label", "labels", "sentiment", "rating", "stars", "id", "index"})
_LABEL = re.compile(r"-?\d{1,2}(\.\d)?|pos(itive)?|neg(ative)?|true|false", re.IGNORECASE)
#: Lines and rows that are looked at.
_SAMPLE = 200


class NotReviews(ValueError):  # noqa: N818 -- it is an answer about a file
    """The file has another format; the text says which, and what to do."""


def read_lines(content: bytes) -> list[str]:
    """The lines of a text file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Raises NotReviews if the file is compressed, binary, or a table or document of another format;
    UnicodeDecodeError if it is in another encoding.
    """
    for magic, what, remedy in _MAGIC:
        if content.startswith(magic):
            raise NotReviews(f"it is {what}: {remedy}.")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "")
    if not encoding and b"\0" in content:
        raise NotReviews(
            "it has bytes of 0, so that it is a binary file, or UTF-16 without a byte order mark: convert it, for "
            "example with `iconv -f utf-16le -t utf-8`."
        )
    text = content.decode(encoding or "utf-8").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if found := _other_format(text, [line for line in lines if line.strip()][:_SAMPLE]):
        raise NotReviews(f"{found}: write a text file with one review per line.")
    return lines


def _other_format(text: str, lines: list[str]) -> str:
    """What a text is instead of one review per line; empty if it is that."""
    first = lines[0].lstrip().lower() if lines else ""
    if first.startswith(("<!doctype", "<html", "<?xml")):
        return "it is HTML or XML"
    if lines and all(_is_json_object(line) for line in lines):
        return "each line is a JSON object (JSONL), for example `jq -r .text` reads out a field"
    if first.startswith(("[", "{")) and _is_json(text):
        return "it is a JSON document"
    for delimiter, name in ((",", "CSV"), ("\t", "TSV"), (";", "CSV with semicolons")):
        if _is_table(text, lines, delimiter):
            return f"it is a table ({name}), whose rows have columns, labels or quoted line breaks"
    return ""


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (list, dict))
    except ValueError:
        return False


def _is_json_object(line: str) -> bool:
    return line.lstrip().startswith("{") and _is_json(line)


def _is_table(text: str, lines: list[str], delimiter: str) -> bool:
    header = [name.strip().strip('"').lower() for name in lines[0].split(delimiter)] if lines else []
    if len(header) > 1 and all(name in _COLUMNS or not name for name in header):
        return True
    try:
        rows = [row for _, row in zip(range(_SAMPLE), _rows(text, delimiter), strict=False) if row]
    except csv.Error:
        return False
    if len(rows) > 1 and len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
        # A column of labels, with or without a header.
        return any(all(_LABEL.fullmatch(row[column].strip()) for row in rows[1:]) for column in (0, -1))
    # One column: reviews in quotes, some of which go over several lines.
    quoted = sum(line.startswith('"') for line in lines)
    return any("\n" in field for row in rows for field in row) and 2 * quoted >= len(rows)


def _rows(text: str, delimiter: str) -> Iterable[list[str]]:
    csv.field_size_limit(2**31 - 1)
    return csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
