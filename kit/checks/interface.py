"""Names and signatures: a function is right if it can be called as the course calls it."""

import inspect
from typing import Any

from kit.checks.diagnosis import Failed
from kit.checks.submission import Submission

#: Function -> names of the arguments that it is given by position, and of those that are given by name.
CALLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "make_device_mesh": (("batch", "model", "devices"), ()),
    "gemma_layout_map": (("device_mesh",), ()),
    "load_distributed": (("preset", "layout_map"), ("dtype",)),
    "sharding_table": (("layer",), ()),
    "prepare_reviews": (("examples", "batch_size", "num_batches", "seed"), ()),
    "enable_lora": (("model", "rank"), ()),
    "count_parameters": (("model",), ()),
    "expected_lora_parameters": (("architecture", "rank"), ()),
    "compile_for_finetuning": (("model", "learning_rate", "weight_decay"), ()),
    "finetune": (("model", "batches"), ("epochs", "callbacks")),
    "make_train_step": (("model",), ()),
    "complete": (("model", "prompt", "max_length"), ()),
    "mean_log_likelihood": (("model", "texts"), ()),
    "style_shift": (("before", "after"), ()),
    "save_training": (("model", "path"), ()),
    "resume_training": (("model", "path"), ()),
    "merge_adapters": (("model",), ()),
}
#: Arguments given by position that may be left out.
OPTIONAL = {"devices"}


def check_interface(submission: Submission, function: str) -> None:
    """The function is there, and takes its arguments by position and by name."""
    try:
        signature = inspect.signature(submission.function(function))
    except (TypeError, ValueError):  # a callable without a signature to look at is judged by calling it
        return
    positional, by_name = CALLS[function]
    needed = [name for name in positional if name not in OPTIONAL]
    calls: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        (positional, by_name),
        (tuple(needed), ()),
        ((), positional + by_name),
    ]
    for args, kwargs in calls:
        call = f"{function}({', '.join((*args, *(f'{name}=…' for name in kwargs)))})"
        arguments: dict[str, Any] = dict.fromkeys(kwargs)
        try:
            signature.bind(*args, **arguments)
        except TypeError as error:
            raise Failed(
                "SIGNATURE_DOES_NOT_FIT",
                f"{function} cannot be called as {call}: {error}.",
                ("called as", "yours"),
                [(call, f"{function}{signature}")],
            ) from None
