"""The usual mistakes in resuming and merging, and the values that they leave in a model."""

from collections.abc import Callable, Mapping

import numpy as np

from kit.course.checkpoint.training_run import OF_LAYERS, RANK, RATE_PATH, State, fresh_model, state_of
from kit.judge.mistakes import Mistake, MistakeTable, Names, Values

_OFF, _NEEDS = "CHECKPOINT_RESUME_OFF_TRAJECTORY", "checkpoint#What a step needs"
_ADAPTERS, _MERGE = "CHECKPOINT_ADAPTERS_LOST", "CHECKPOINT_MERGE_CHANGES_OUTPUTS"
_STATE = "Save and restore the optimizer's variables too, including its step count."
_WHOLE_PATH = "Use the whole path of a variable as its name."

_OF_ANY_MODEL = (
    Mistake(
        "nothing_assigned",
        _OFF,
        "resume_training leaves all variables of the model and of the optimizer unchanged.",
        "Assign each variable its saved value: `variable.assign(value)`.",
        _NEEDS,
    ),
    Mistake("optimizer_lost", _OFF, "The optimizer's variables are not restored: it starts over.", _STATE),
    Mistake(
        "step_count_lost",
        _OFF,
        "The optimizer's step count is not restored: it is that of the fresh model.",
        "Save and restore all variables of the optimizer: `iterations` is one of them.",
    ),
    Mistake(
        "rate_lost",
        _OFF,
        "The optimizer's learning rate, its variable `learning_rate`, is not restored: it is that of the fresh model.",
        "Save and restore all variables of the optimizer: the learning rate is one of them, and a run may have changed "
        "it since `compile`.",
        _NEEDS,
    ),
    Mistake("first_moments_lost", _OFF, "The optimizer's first moments are not restored.", _STATE),
    Mistake("second_moments_lost", _OFF, "The optimizer's second moments are not restored.", _STATE),
    Mistake(
        "near_values_left",
        _OFF,
        "Variables whose saved values are near those of the fresh model are not assigned. `numpy.allclose` takes "
        "numbers below 1e-8 for zero, and second moments are that small.",
        "Assign all saved values, whatever the model's values are.",
        _NEEDS,
    ),
    Mistake(
        "cast_to_float16",
        _OFF,
        "The restored values are the saved ones, rounded to float16.",
        "Save float32 as it is, and bfloat16 as float32.",
        "checkpoint#bfloat16 in files",
    ),
    Mistake(
        "last_part_as_name",
        _OFF,
        "Variables whose paths end alike share a name in the checkpoint, and only the last of them is restored: the "
        "name is the last part of the path.",
        _WHOLE_PATH,
        "checkpoint#Stable names",
    ),
)
WITHOUT_LORA = (
    *_OF_ANY_MODEL,
    Mistake(
        "trainable_lost",
        _OFF,
        "The model's own variables are not restored, and the optimizer's are.",
        "Save and restore `model.trainable_variables`.",
        _NEEDS,
    ),
    Mistake(
        "last_two_parts_as_name",
        _OFF,
        "Variables whose paths end alike share a name in the checkpoint, and only the last of them is restored: the "
        "name is the last two parts of the path.",
        _WHOLE_PATH,
        "checkpoint#Stable names",
    ),
)
WITH_LORA = (
    *_OF_ANY_MODEL,
    Mistake(
        "trainable_lost",
        _ADAPTERS,
        "The adapters are not restored, and the optimizer's variables are.",
        "Save and restore `lora_kernel_a` and `lora_kernel_b` of each layer: they are `model.trainable_variables`.",
    ),
    Mistake("a_lost", _ADAPTERS, "`lora_kernel_a` is not restored.", "Save and restore both matrices of an adapter."),
    Mistake("b_lost", _ADAPTERS, "`lora_kernel_b` is not restored.", "Save and restore both matrices of an adapter."),
    Mistake(
        "saved_by_save_weights",
        _ADAPTERS,
        "The adapters are zero after resuming, and the optimizer's variables are not restored: so it is with "
        "`save_weights` and `load_weights`.",
        "Save `lora_kernel_a` and `lora_kernel_b` themselves: `save_weights` adds them to the kernels. " + _STATE,
    ),
)
#: At most one of each group can be made.
_EXCLUSIVE = (
    {"nothing_assigned", "optimizer_lost", "step_count_lost"},
    {"nothing_assigned", "optimizer_lost", "rate_lost"},
    {"nothing_assigned", "optimizer_lost", "first_moments_lost"},
    {"nothing_assigned", "optimizer_lost", "second_moments_lost"},
    {"nothing_assigned", "trainable_lost", "a_lost", "last_part_as_name", "last_two_parts_as_name"},
    {"nothing_assigned", "trainable_lost", "b_lost", "last_part_as_name", "last_two_parts_as_name"},
    {"nothing_assigned", "cast_to_float16"},
    # float16 rounds to zero what is that near to it.
    {"nothing_assigned", "optimizer_lost", "second_moments_lost", "cast_to_float16", "near_values_left"},
    # Each of these pairs is all that a run needs.
    {"optimizer_lost", "trainable_lost"},
    {"a_lost", "b_lost"},
)


def resume_table(saved: State, fresh: State) -> MistakeTable:
    """The mistakes that the checks of resuming recognise, for a saved state and a fresh model."""
    has_adapters = any("lora_" in path for path in saved)

    def values(names: Names) -> Values | None:
        if "saved_by_save_weights" in names and len(names) > 1:
            return None
        return restored(saved, fresh, _resumed_with(names, saved, fresh))

    return MistakeTable(WITH_LORA if has_adapters else WITHOUT_LORA, values, relative=0.0, exclusive=_EXCLUSIVE)


def restored(saved: State, fresh: State, resumed: State) -> Values:
    """How many variables of each kind have their saved values, and what the others have."""
    counts = {f"{_kind(path)} restored": 0 for path in saved if _kind(path)}
    rounded = {f"{kind} rounded to float16": 0 for kind in dict.fromkeys(map(_kind, saved)) if kind}
    others = dict.fromkeys(("unchanged", "rounded to float16", "set to zero", "with other values"), 0)
    for path, value in saved.items():
        if not _kind(path):
            continue
        found = resumed.get(path)
        if found is None or found.shape != value.shape:
            others["with other values"] += 1
        elif np.array_equal(found, value):
            counts[f"{_kind(path)} restored"] += 1
        elif path in fresh and np.array_equal(found, fresh[path]):
            others["unchanged"] += 1
        elif np.array_equal(found, _rounded(value)):
            others["rounded to float16"] += 1
            rounded[f"{_kind(path)} rounded to float16"] += 1
        else:
            others["with other values" if np.any(found) else "set to zero"] += 1
    rates = [state[RATE_PATH] for state in (resumed, fresh, saved) if RATE_PATH in state]
    unchanged = len(rates) == 3 and np.array_equal(rates[0], rates[1]) and not np.array_equal(rates[1], rates[2])
    return (
        counts
        | {f"variables {how}": number for how, number in others.items()}
        | rounded
        | {"learning rate unchanged": int(unchanged)}
    )


def _kind(path: str) -> str:
    """Which kind of variable has this name; empty for the rate, whose rounding says nothing."""
    if not path.startswith("optimizer/"):
        return path.rpartition("/")[2] if "lora_" in path else "trainable variables"
    if path.endswith("_momentum"):
        return "first moments"
    if path.endswith("_velocity"):
        return "second moments"
    return "step count" if path.startswith("optimizer/iteration") else ""


def _rounded(value: np.ndarray) -> np.ndarray:
    # Values beyond the range of float16 become infinite.
    with np.errstate(over="ignore"):
        return value if value.dtype.kind in "iu" else value.astype("float16").astype(value.dtype)


def _resumed_with(names: Names, saved: State, fresh: State) -> State:
    """The state of a fresh model after resuming with these mistakes."""
    lost: dict[str, Callable[[str], bool]] = {
        "nothing_assigned": lambda path: True,
        "optimizer_lost": lambda path: path.startswith("optimizer/"),
        "step_count_lost": lambda path: _kind(path) == "step count",
        "rate_lost": lambda path: path == RATE_PATH,
        "first_moments_lost": lambda path: _kind(path) == "first moments",
        "second_moments_lost": lambda path: _kind(path) == "second moments",
        "trainable_lost": lambda path: not path.startswith("optimizer/"),
        "a_lost": lambda path: _kind(path) == "lora_kernel_a",
        "b_lost": lambda path: _kind(path) == "lora_kernel_b",
        "last_part_as_name": _hidden_by_names(saved, 1),
        "last_two_parts_as_name": _hidden_by_names(saved, 2),
        "saved_by_save_weights": lambda path: path.startswith("optimizer/"),
    }
    found = {}
    for path, value in saved.items():
        near = "near_values_left" in names and np.allclose(fresh[path], value)
        if near or any(lost[name](path) for name in names & lost.keys()):
            found[path] = fresh[path]
        elif "saved_by_save_weights" in names:
            found[path] = np.zeros_like(value)
        else:
            found[path] = _rounded(value) if "cast_to_float16" in names else value
    return found


def _hidden_by_names(saved: State, parts: int) -> Callable[[str], bool]:
    """Whether a later variable of the model has the same last parts of its path."""
    last = {tuple(path.split("/")[-parts:]): path for path in saved if not path.startswith("optimizer/")}
    return lambda path: not path.startswith("optimizer/") and last[tuple(path.split("/")[-parts:])] != path


MERGE = (
    Mistake(
        "nothing_merged", _MERGE, "Nothing is merged: kernels and adapters are unchanged.", "Add A B to `_kernel`."
    ),
    Mistake(
        "nothing_added",
        _MERGE,
        "The adapters are set to zero, and nothing is added to the kernels.",
        "Add `lora_alpha / lora_rank` times A B to `_kernel` before you set the adapter to zero.",
    ),
    Mistake(
        "scale_forgotten",
        _MERGE,
        "A B is added without its scale, lora_alpha / lora_rank.",
        "Multiply A B by `lora_alpha / lora_rank`.",
    ),
    Mistake(
        "scaled_twice",
        _MERGE,
        "A B is multiplied by its scale, lora_alpha / lora_rank, twice.",
        "Multiply A B by `lora_alpha / lora_rank` once.",
    ),
    Mistake(
        "rank_forgotten",
        _MERGE,
        "A B is multiplied by lora_alpha, and not divided by lora_rank.",
        "Multiply A B by `lora_alpha / lora_rank`.",
    ),
    Mistake(
        "scale_rounded_down",
        _MERGE,
        "The scale is rounded down to a whole number: // divides without a remainder.",
        "Divide with /, which keeps the fraction.",
    ),
    Mistake(
        "subtracted",
        _MERGE,
        "The adapter is subtracted from the kernel.",
        "Add `lora_alpha / lora_rank` times A B.",
    ),
    Mistake(
        "added_twice",
        _MERGE,
        "The adapter is added twice: `kernel` includes it already.",
        "Add it to the variable `_kernel`, then set the adapter to zero. Do not add it to `kernel`.",
    ),
    Mistake(
        "adapter_kept",
        _MERGE,
        "The adapter is not set to zero, so the layer adds it again at each call.",
        "Set `lora_kernel_a` or `lora_kernel_b` to zero after adding their product to `_kernel`.",
    ),
    Mistake(
        "query_alone",
        _MERGE,
        "Only the adapters of query are merged, and those of value are unchanged.",
        "Merge each layer whose `lora_enabled` is true.",
    ),
    Mistake(
        "value_alone",
        _MERGE,
        "Only the adapters of value are merged, and those of query are unchanged.",
        "Merge each layer whose `lora_enabled` is true.",
    ),
    Mistake(
        "rounded_sum",
        _MERGE,
        "The merged kernel is rounded to bfloat16, and the kernel before it was not.",
        "Add A B to the variable `_kernel` in its own dtype: the property `kernel` has the dtype of the computation.",
    ),
)
_EXCLUSIVE_MERGES = (
    {
        "nothing_merged",
        "nothing_added",
        "scale_forgotten",
        "scaled_twice",
        "rank_forgotten",
        "scale_rounded_down",
        "subtracted",
    },
    {"nothing_merged", "nothing_added", "added_twice"},
    {"nothing_merged", "nothing_added", "adapter_kept"},
    {"nothing_merged", "query_alone", "value_alone"},
    {"nothing_merged", "nothing_added", "rounded_sum"},
    {"subtracted", "added_twice"},
)
#: lora_alpha of the models to merge, whose scale is no whole number, and more than 2.
ALPHA = 8.0


def merge_table() -> MistakeTable:
    """The mistakes that the check ``merge`` recognises."""
    # Rounding to bfloat16 moves the multiple of A B by less than 0.01.
    return MistakeTable(MERGE, _merged_with, relative=0.0, absolute=0.02, exclusive=_EXCLUSIVE_MERGES)


def multiples(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> Values:
    """How often A B was added to each kernel and is left in its adapter, and what was rounded."""
    found: dict[str, float] = {}
    kernels = [path for path in before if path.endswith("/kernel") and f"{path[:-6]}lora_kernel_a" in before]
    assert kernels, "the model has no adapters"
    roundings = []
    for path in kernels:
        layer = path.split("/")[-2]
        a, b = (f"{path[:-6]}lora_kernel_{part}" for part in "ab")
        product = np.matmul(before[a], before[b])
        change = after[path] - before[path]
        found[f"A B in the kernel of {layer}, times"] = float(np.vdot(product, change) / np.vdot(product, product))
        left = product_left(after, a, b)
        found[f"A B left in the adapter of {layer}, times"] = float(np.sum(product * left) / np.vdot(product, product))
        roundings.append(
            bool(np.any(change)) and np.array_equal(after[path], after[path].astype("bfloat16").astype("float32"))
        )
    found["kernels rounded to bfloat16"] = sum(roundings)
    return found


def product_left(after: Mapping[str, np.ndarray], a: str, b: str) -> np.ndarray:
    """A B of an adapter after merging; 0 if its variables are gone."""
    return np.matmul(after[a], after[b]) if a in after and b in after else np.zeros(1)


def _merged_with(names: Names) -> Values:
    scale = ALPHA / RANK
    multiple = {
        "nothing_merged": 0.0,
        "nothing_added": 0.0,
        "scale_forgotten": 1.0,
        "scaled_twice": scale**2,
        "rank_forgotten": ALPHA,
        "scale_rounded_down": float(ALPHA // RANK),
        "subtracted": -scale,
    }
    added = next((multiple[name] for name in multiple if name in names), scale)
    if "added_twice" in names:
        added += scale
    left = 1.0 if {"adapter_kept", "nothing_merged"} & names else 0.0
    found: dict[str, float] = {}
    for layer in ("query", "value"):
        skipped = {"query": "value_alone", "value": "query_alone"}[layer] in names
        found[f"A B in the kernel of {layer}, times"] = 0.0 if skipped else added
        found[f"A B left in the adapter of {layer}, times"] = 1.0 if skipped else left
    merged = 1 if {"query_alone", "value_alone"} & names else 2
    found["kernels rounded to bfloat16"] = merged if "rounded_sum" in names else 0
    return found


def _example(rank: int) -> MistakeTable:
    """The table for a model whose state is that of a training run, with made-up values."""
    fresh = state_of(fresh_model(rank, "adamw", other_values=True, num_layers=2))
    random = np.random.default_rng(0)
    saved = {
        path: np.asarray(2, value.dtype) if value.dtype.kind in "iu" else random.normal(size=value.shape).astype("f4")
        for path, value in fresh.items()
    }
    for path, value in saved.items():
        if _kind(path) == "second moments" and OF_LAYERS.replace("/", "_") in path:
            saved[path] = value * np.float32(1e-12)
    return resume_table(saved, fresh)


TABLES = {
    "resume": lambda: _example(RANK),
    "resume_elsewhere": lambda: _example(0),
    "merge": merge_table,
}
