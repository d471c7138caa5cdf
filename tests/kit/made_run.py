"""The folder of a run that nobody made: small, and with what a report has to say of it known."""

import json
from pathlib import Path
from typing import Any

#: (path, shape, spec). The widths of a small Gemma; ffw_gating_2 is replicated, since no rule matches it.
BLOCK = [
    ["pre_attention_norm/scale", [16], [None]],
    ["attention/query/kernel", [4, 16, 6], ["model", None, None]],
    ["attention/attention_output/kernel", [4, 6, 16], ["model", None, None]],
    ["ffw_gating/kernel", [16, 24], [None, "model"]],
    ["ffw_gating_2/kernel", [16, 24], [None, None]],
    ["ffw_linear/kernel", [24, 16], ["model", None]],
]
DEVICES = [f"cpu:{number}" for number in range(8)]


def made_run(folder: Path, **changes: Any) -> Path:
    """Write it. What is changed is put over the content of ``run.json``.

    A mesh of 2 x 4, 2 blocks, 40 steps whose loss falls from 4.0 by 0.02 each, three prompts with the verdicts list to review, list to
    neither, and list to list.
    """
    folder.mkdir(exist_ok=True)
    settings = {
        "data": "movie-reviews",
        "batches": 40,
        "batch_size": 8,
        "sequence_length": 128,
        "rank": 4,
        "learning_rate": 0.005,
        "weight_decay": 0.01,
        "epochs": 1,
        "dtype": "float32",
        "prompt": "Best films ",
        "max_length": 64,
        "seed": 0,
    }
    rules = [
        {"rule": "token_embedding/embeddings", "spec": ["model", None], "variables": 1, "bytes": 32 * 16 * 4},
        {
            "rule": "decoder_block.*attention.*(query|key|value)/(kernel|lora_kernel_a)",
            "spec": ["model", None, None],
            "variables": 2,
            "bytes": 3072,
        },
        {
            "rule": "decoder_block.*(attention_output|ffw_linear)/kernel",
            "spec": ["model", None],
            "variables": 4,
            "bytes": 6144,
        },
        {"rule": "decoder_block.*ffw_gating/kernel", "spec": [None, "model"], "variables": 2, "bytes": 3072},
        {"rule": "decoder_block.*ffw_gating_two/kernel", "spec": [None, "model"], "variables": 0, "bytes": 0},
    ]
    unmatched = [
        f"decoder_block_{block}/{name}"
        for block in (0, 1)
        for name in ("pre_attention_norm/scale", "ffw_gating_2/kernel")
    ]
    result = {
        "preset": "bundled",
        "implementation": "reference",
        "control": False,
        "settings": settings,
        "versions": {"python": "3.11.7", "keras": "3.15.1"},
        "started": "2026-11-24T21:54:38+00:00",
        "devices": {"platform": "cpu", "kind": "cpu", "count": 8},
        "mesh": {"batch": 2, "model": 4},
        "rule_coverage": {
            "rules": rules,
            "unmatched": [*unmatched, "final_normalization/scale"],
            "unmatched_bytes": 3072 + 128 + 64,
            "bytes": 17600,
            "bytes_per_device": 6848,
        },
        "nbytes_per_device": dict.fromkeys(DEVICES, 6848),
        "sharding_of_decoder_block_1": [[f"decoder_block_1/{path}", shape, spec] for path, shape, spec in BLOCK],
        "parameters": {"before": {"trainable": 4400, "total": 4400}, "tuned": {"trainable": 321, "total": 4721}},
        "optimizer": {"class": "AdamW", "decayed_variables": 8},
        "training": {
            "steps": 40,
            "seconds": 6.61,
            "milliseconds_per_step": 214.84,
            "first_loss": 3.88,
            "last_loss": 3.34,
            "mean_loss": 3.61,
            "mean_accuracy": 0.28,
        },
        "style": {
            "before": {
                "share_of_lists": 1.0,
                "share_of_reviews": 0.0,
                "log_likelihood": {"reviews": -3.8122, "lists": -0.7522},
            },
            "after": {
                "share_of_lists": 1 / 3,
                "share_of_reviews": 1 / 3,
                "log_likelihood": {"reviews": -3.7648, "lists": -1.3291},
            },
            "shift": {"reviews": 0.0474, "lists": -0.5769, "shift": 0.6243},
            "shifted": True,
            "share_without_copies": 1.0,
        },
        "generations": {"prompt": "Best films ", "before": "Best films 1. One", "after": "Best films I liked it."},
        "seconds": 27.04,
        "folder": str(folder),
    }
    steps = [
        {
            "step": step,
            "loss": 4.02 - 0.02 * step,
            "mean_loss": 4.01 - 0.01 * step,
            "mean_accuracy": 0.2,
            "seconds": 2 + 0.1 * step,
        }
        for step in range(1, 41)
    ]
    a_list = {
        "text": "Best films 1. One",
        "style": "list",
        "probability_of_review": 0.1,
        "fluency": 1.79,
        "fluent": True,
    }
    generations = {
        "prompts": ["Best films ", "Worst films ", "Other films "],
        "before": [a_list, {**a_list, "text": "Worst films 1. Two"}, {**a_list, "text": "Other films 1. Three"}],
        "after": [
            {**a_list, "text": "Best films I liked it.", "style": "review", "probability_of_review": 0.97},
            {
                **a_list,
                "text": "Worst films it liked I",
                "style": "review",
                "probability_of_review": 0.9,
                "fluency": float("-inf"),
                "fluent": False,
            },
            {**a_list, "text": "Other films 1. Four"},
        ],
    }
    write(folder / "run.json", result | changes)
    write(folder / "generations.json", generations)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps), encoding="utf-8")
    return folder


def read(file: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(file.read_text(encoding="utf-8"))


def write(file: Path, content: Any) -> None:
    """A JSON file."""
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
