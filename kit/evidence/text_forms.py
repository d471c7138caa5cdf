"""The form of a text: a list of titles, prose, repetition. Imports no framework."""

import itertools
import re

#: Words that titles have in lower case.
_SMALL_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "as",
        "at",
        "but",
        "by",
        "de",
        "del",
        "des",
        "di",
        "du",
        "el",
        "en",
        "et",
        "for",
        "from",
        "in",
        "into",
        "la",
        "le",
        "les",
        "n",
        "nor",
        "of",
        "off",
        "on",
        "or",
        "out",
        "over",
        "per",
        "so",
        "the",
        "to",
        "und",
        "up",
        "van",
        "vs",
        "via",
        "von",
        "with",
        "y",
    ]
)
_MARKUP = re.compile(r"[*_#`\"“”‘’«»]+")
_NUMBERED = re.compile(r"(?:^|(?<=\s))\(?(\d{1,3})[.)]\s+")
_BULLET = re.compile(r"^\s*[-+•·‣◦▪–—]\s+")
_INLINE_BULLET = re.compile(r"(?:^|\s)[-•·–—]\s+(?=\S)")
_AFTER_TITLE = re.compile(r"\s*(?:\(|\[|:\s|\s[-–—]\s|[.!?]\s|[.!?]$|,\s).*", re.DOTALL)
_NOT_PROSE = re.compile(r"[{}<>\[\]=|\\~^@$;]|::|->|/\w+/|\w\(\)|\w_\w")
_DIGIT = re.compile(r"\d")
_TOKEN = re.compile(r"\w+(?:['’]\w+)?")

#: Share of new pairs of words that any but a degenerate text exceeds. A phrase that is there twice
#: has more, so with fewer different pairs than FEW_PAIRS, half of them must be new.
DEGENERATE = 1 / 3
FEW_PAIRS = 6
#: Consecutive words that a text has twice only if it repeats itself.
REPEATED_WORDS = 6


def new_pairs(text: str) -> float:
    """Share of the pairs of consecutive words that are new, with all digits as one.

    The first pair does not count: the share is 0.0 for one pair again and again, nearly 1.0 for
    prose, about 0.5 for a long text that is there twice, and 0.0 for fewer than two words.
    """
    pairs = list(itertools.pairwise(_tokens(text)))
    return (len(set(pairs)) - 1) / len(pairs) if pairs else 0.0


def is_degenerate(text: str) -> bool:
    """Whether a text is empty, the same word, or mostly repetition, and not a list."""
    found = _tokens(text)
    different, share = len(set(itertools.pairwise(found))), new_pairs(text)
    mostly_repeated = len(found) > 2 and (share <= DEGENERATE or (different < FEW_PAIRS and share < 0.5))
    return (len(set(found)) < 2 or mostly_repeated) and not is_list(text)


def repeats_itself(text: str) -> bool:
    """Whether some REPEATED_WORDS consecutive words are there twice."""
    found = _tokens(text)
    runs = [tuple(found[first : first + REPEATED_WORDS]) for first in range(len(found) - REPEATED_WORDS + 1)]
    return len(set(runs)) < len(runs)


def _tokens(text: str) -> list[str]:
    return [_DIGIT.sub("0", token.lower()) for token in _TOKEN.findall(text)]


def is_prose(text: str) -> bool:
    """Whether the lines are long: those of verses, dialogues, code and tables are short."""
    lines = [len(line.split()) for line in text.splitlines() if line.strip()]
    return len(lines) < 3 or sum(lines) >= 10 * len(lines)


def is_list(text: str) -> bool:
    """Whether the text is a list of titles: at least three, or two that are numbered from 1.

    The forms are ``1. X``, ``1) X``, bullets, Markdown, one title a line, and titles in a sentence.
    """
    plain = _MARKUP.sub("", re.sub(r"^(\s*)[*]\s+", r"\1- ", text, flags=re.MULTILINE))
    return (
        _is_numbered(plain)
        or _are_titles([_BULLET.sub("", line) for line in _lines(plain) if _BULLET.match(line)], plain, 0.6)
        or _are_titles(_INLINE_BULLET.split(plain)[1:], plain, 0.6)
        or _are_lines(plain)
        or _is_sentence(plain)
    )


def is_title(item: str) -> bool:
    """Whether an item of a list is a title: few words, most of them capitalized."""
    title = item.strip(" .,!?-–—'")
    words = [word for word in re.split(r"[\s/-]+", title) if word]
    if not 1 <= len(words) <= 9 or max(map(len, words)) > 20 or _NOT_PROSE.search(title):
        return False
    large = [word.strip("'(&") for word in words if word.lower() not in _SMALL_WORDS]
    capitalized = sum(word[:1].isupper() or word[:1].isdigit() for word in large)
    starts = words[0][:1].isupper() or words[0][:1].isdigit()
    return starts and any(map(str.isalpha, title)) and capitalized >= 0.75 * len(large)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _is_numbered(text: str) -> bool:
    """Whether titles follow numbers that count up."""
    parts = _NUMBERED.split(text)
    numbers, items = [int(number) for number in parts[1::2]], parts[2::2]
    if len(numbers) < 2 or any(second != first + 1 for first, second in itertools.pairwise(numbers)):
        return False
    # What the limit on the tokens cut off is no item, nor is what follows the list.
    whole = [item.split("\n\n")[0] for item in items if item.strip()]
    return _are_titles(whole, text, 0.6, fewest=2)


def _are_titles(items: list[str], text: str, share: float, fewest: int = 3) -> bool:
    """Whether most items start with a title, in all two or more, and are most of the text."""
    titles = [title.lower() for item in items if is_title(title := _AFTER_TITLE.sub("", item.strip()))]
    if len(titles) < max(fewest, share * len(items)) or len(set(titles)) < max(2, 0.5 * len(titles)):
        return False
    return sum(len(item.split()) for item in items) >= 0.5 * len(text.split())


def _are_lines(text: str) -> bool:
    """Whether each line is a title, after at most one line that announces them."""
    lines = [re.sub(r"\s*\(\d{4}\)$", "", line.strip()) for line in _lines(text)]
    if lines and lines[0].endswith(":"):
        lines = lines[1:]
    titles = {line.lower() for line in lines if is_title(line) and not re.match(r"[\w-]+: |.*[,;:]$", line)}
    return len(titles) >= max(3, 0.75 * len(lines))


def _is_sentence(text: str) -> bool:
    """Whether titles in a sentence, separated by commas, are most of the text."""
    for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])|\n+", text.strip()):
        body = re.sub(r"^.*?(?:\b(?:are|is|includes?|including|were|like|as|be)\b|:)\s+", "", sentence, count=1)
        items = re.split(r",\s+(?:and\s+|or\s+|&\s+)?|\s+and\s+(?=[A-Z\d])|;\s+", body)
        titles = [item for item in items if is_title(re.sub(r"\s*\(\d{4}\)", "", item))]
        of_all = sum(len(item.split()) for item in titles) / max(1, len(text.split()))
        numbers = sum(item.strip()[:1].isdigit() for item in titles)
        if len(set(titles)) >= max(4, 0.75 * len(items)) and of_all >= 0.5 and numbers <= 0.25 * len(titles):
            return True
    return False
