"""The style classifier on texts that it has not read, by kind: the table of docs/evidence.md.

Usage, from the root of a clone: python benchmarks/style_classifier.py
"""

import json
import time
from pathlib import Path

from kit.dev.style_accuracy import counts_by_kind
from kit.dev.style_texts import HELD_OUT_FILE
from kit.evidence.style import load_style_classifier


def main() -> None:
    """Print the confusion table, and the verdicts on texts that models wrote."""
    started = time.perf_counter()
    classify = load_style_classifier()
    seconds = time.perf_counter() - started
    print("| kind | texts | list | review | neither | of them degenerate |")
    print("|---|---|---|---|---|---|")
    rows = counts_by_kind(classify)
    for row in rows:
        print(f"| {row.kind} | {row.texts} | {row.lists} | {row.reviews} | {row.neither} | {row.degenerate} |")
    others = [row for row in rows if row.expected == "neither"]
    wrong = sum(row.lists + row.reviews for row in others)
    print(f"\n{wrong} of {sum(row.texts for row in others)} texts that are neither are called list or review")
    quoted = json.loads(Path(HELD_OUT_FILE).with_name("model_texts.json").read_text(encoding="utf-8"))
    right = sum(classify(each["text"]).word == each["style"] for each in quoted)
    print(f"{right} of {len(quoted)} texts that models wrote are called what they are")
    print(f"the classifier was ready after {seconds:.1f} s")


if __name__ == "__main__":
    main()
