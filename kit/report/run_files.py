"""What a run left in its folder, read and checked. Imports no framework."""

import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kit.errors import UserError

#: Bytes of an element of the weights, by ``--dtype``; mixed_bfloat16 keeps float32 weights.
ITEM_SIZES = {"float32": 4, "mixed_bfloat16": 4, "bfloat16": 2}
EMBEDDINGS = "token_embedding/embeddings"

#: The mesh axes that one dimension is split over; none: it is not split.
Axes = tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """A line of ``metrics.jsonl``."""

    step: int
    #: Loss of this step's batch.
    loss: float
    #: Mean since the epoch began.
    mean_loss: float
    mean_accuracy: float | None
    #: Since training began, compilation included.
    seconds: float


@dataclass(frozen=True)
class Variable:
    """A variable and where its dimensions go."""

    path: str
    shape: tuple[int, ...]
    #: As many entries as the shape has.
    spec: tuple[Axes, ...]
    #: Of the whole variable, counted once.
    nbytes: int


@dataclass(frozen=True)
class Rule:
    """A rule of the layout map, and what it matches."""

    pattern: str
    spec: tuple[Axes, ...]
    #: How many variables it matches, and their bytes, each counted once.
    variables: int
    nbytes: int


@dataclass(frozen=True)
class Replicated:
    """Variables of one kind, for example a matrix of every decoder block, that each device holds whole."""

    #: With ``decoder_block_N`` for the blocks.
    kind: str
    variables: int
    #: Of all of them, each counted once; None if the run did not write it down.
    nbytes: int | None


@dataclass(frozen=True)
class Verdict:
    """A completion, and what the judge says of it."""

    #: Without its prompt.
    continuation: str
    style: str
    #: By the judge.
    probability_of_review: float
    #: What a word gains by the word before it, by a bigram model of real reviews, in nats; minus infinity without two words.
    fluency: float
    fluent: bool

    @property
    def word(self) -> str:
        """One of "list", "review" and "neither": the words of a review, and not in an order that reviews have."""
        if self.style == "list":
            return "list"
        return "review" if self.fluent else "neither"


@dataclass(frozen=True)
class Style:
    """The style of what the model writes, at one moment."""

    #: Of the prompts' completions.
    share_of_lists: float
    share_of_reviews: float
    #: Mean log-likelihood of held-out texts, in nats a token.
    reviews: float
    lists: float


@dataclass(frozen=True)
class Training:
    """What ``run.json`` says of the training."""

    #: Mean losses of the first and the last third of the steps.
    first_loss: float
    last_loss: float
    seconds: float
    #: After the first step, which includes compilation.
    milliseconds_per_step: float


@dataclass(frozen=True)
class Run:
    """A finished run."""

    preset: str
    implementation: str
    control: bool
    settings: dict[str, Any]
    versions: dict[str, str]
    started: datetime
    #: Of the whole run.
    seconds: float
    #: Steps after which it was broken off and continued.
    resumed: tuple[int, ...]
    platform: str
    device_kind: str
    #: The axes and their sizes, in their order.
    mesh: dict[str, int]
    #: The devices in the mesh's own order, the last axis running fastest.
    devices: tuple[str, ...]
    #: Bytes of the backbone on each device that the process could look at, before tuning.
    held: dict[str, int]
    rules: tuple[Rule, ...]
    #: Of all variables of the backbone as it is loaded, each counted once.
    nbytes: int
    #: What the layout map said that a device holds of them; None if the run wrote that down with adapters alone.
    nbytes_foretold: int | None
    #: Bytes of the adapters that the rules were asked about as well, each counted once.
    nbytes_of_adapters: int
    #: How many variables no rule matches, and their bytes.
    unmatched: int
    nbytes_unmatched: int
    #: The largest first.
    replicated: tuple[Replicated, ...]
    #: The embeddings, if their shape is known, then the variables of decoder_block_1.
    variables: tuple[Variable, ...]
    #: "before" and "tuned": how many elements are trainable, and how many there are.
    parameters: dict[str, tuple[int, int]]
    optimizer: str
    decayed_variables: int
    training: Training
    steps: tuple[Step, ...]
    before: Style
    after: Style
    #: What held-out reviews and lists gained, in nats a token.
    reviews_gained: float
    lists_gained: float
    shifted: bool
    share_without_copies: float
    #: The run's own prompt, and what followed it before and after.
    prompt: str
    completions: tuple[str, str]
    #: Each prompt with the verdicts before and after.
    prompts: tuple[tuple[str, Verdict, Verdict], ...]

    @property
    def device_count(self) -> int:
        """How many devices the mesh has."""
        return math.prod(self.mesh.values())


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        UserError: if it is none, or of a run that is not finished, or if a file is missing or damaged.

    """
    if not folder.is_dir():
        found = "this is a file" if folder.exists() else "there is no such folder"
        raise UserError(
            f"{folder}: {found}; a report is made of the folder of a run, such as `kit run` makes in runs/."
        )
    if not (folder / "run.json").is_file():
        if (folder / "metrics.jsonl").is_file() or (folder / "request.json").is_file():
            done = len(_read_steps(folder / "metrics.jsonl", unfinished=True))
            raise UserError(
                f"{folder}: this run is not finished ({done} step{'' if done == 1 else 's'} in metrics.jsonl, and no run.json); "
                "wait for its end, or go on with it by `kit run --resume`: a report is made of a finished run."
            )
        raise UserError(f"{folder}: neither run.json nor metrics.jsonl is in it, so it is not the folder of a run.")
    with _sound(folder / "run.json") as file:
        content = _object(json.loads(file.read_text(encoding="utf-8")))
        parts = _read_result(content)
    steps = _read_steps(folder / "metrics.jsonl")
    with _sound(folder / "generations.json") as file:
        prompts = _read_prompts(_object(json.loads(file.read_text(encoding="utf-8"))))
    return Run(steps=steps, prompts=prompts, **parts)


def as_kind(path: str) -> str:
    """A path with ``decoder_block_N`` for the block."""
    return re.sub(r"^decoder_block_\d+/", "decoder_block_N/", path)


@contextlib.contextmanager
def _sound(file: Path) -> Iterator[Path]:
    """The file, to be read within; whatever is wrong with it is one sentence."""
    try:
        yield file
        return
    except FileNotFoundError:
        raise UserError(f"{file}: it is missing, and a report needs it as the run wrote it.") from None
    except OSError as error:
        raise UserError(f"{file}: it cannot be read ({error.strerror}).") from None
    except json.JSONDecodeError as error:
        reason = f"no JSON at line {error.lineno}: {error.msg}"
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except KeyError as error:
        reason = f'it has no "{error.args[0]}"'
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error)
    raise UserError(f"{file}: it is damaged ({reason}), and a report needs it as the run wrote it.")


def _read_steps(file: Path, unfinished: bool = False) -> tuple[Step, ...]:
    steps: dict[int, Step] = {}
    if unfinished and not file.is_file():
        return ()
    with _sound(file):
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            try:
                row = _object(json.loads(line))
            except json.JSONDecodeError:
                if unfinished and number == len(lines):
                    break  # What was being written when the run broke off.
                raise ValueError(f"line {number} is no JSON") from None
            accuracy = row.get("mean_accuracy")
            step = Step(
                _integer(row["step"]),
                _number(row["loss"]),
                _number(row["mean_loss"]),
                None if accuracy is None else _number(accuracy),
                _number(row["seconds"]),
            )
            # A step that was taken again after a break counts as it was taken last.
            steps[step.step] = step
        if not steps and not unfinished:
            raise ValueError("it has no step")
    return tuple(steps[number] for number in sorted(steps))


def _read_result(content: dict[str, Any]) -> dict[str, Any]:
    settings = _object(content["settings"])
    dtype = _text(settings["dtype"])
    if dtype not in ITEM_SIZES:
        raise ValueError(f'"dtype" is "{dtype}"')
    item_size = ITEM_SIZES[dtype]
    _integer(settings["rank"])
    mesh = {_text(name): _integer(size) for name, size in _object(content["mesh"]).items()}
    if not mesh or min(mesh.values()) < 1:
        raise ValueError(f'"mesh" is {mesh}')
    held = {name: _integer(nbytes) for name, nbytes in _object(content["nbytes_per_device"]).items()}
    coverage = _object(content["rule_coverage"])
    rules = tuple(
        Rule(_text(rule["rule"]), _spec(rule["spec"], mesh), _integer(rule["variables"]), _integer(rule["bytes"]))
        for rule in map(_object, _list(coverage["rules"]))
    )
    block = tuple(_variable(row, mesh, item_size) for row in _list(content["sharding_of_decoder_block_1"]))
    embeddings = tuple(
        _variable(row, mesh, item_size) for row in _list(content.get("sharding_of_token_embedding", []))
    ) or _embeddings(rules, block, item_size)
    devices = _object(content["devices"])
    parameters = {
        name: (_integer(counts["trainable"]), _integer(counts["total"]))
        for name in ("before", "tuned")
        for counts in (_object(_object(content["parameters"])[name]),)
    }
    nbytes, foretold = _loaded(coverage, parameters["before"][1] * item_size)
    optimizer, training = _object(content["optimizer"]), _object(content["training"])
    style, generations = _object(content["style"]), _object(content["generations"])
    shift = _object(style["shift"])
    return {
        "preset": _text(content["preset"]),
        "implementation": _text(content["implementation"]),
        "control": _truth(content["control"]),
        "settings": settings,
        "versions": {name: _text(version) for name, version in _object(content["versions"]).items()},
        "started": datetime.fromisoformat(_text(content["started"])),
        "seconds": _number(content["seconds"]),
        "resumed": tuple(map(_integer, _list(content.get("resumed") or []))),
        "platform": _text(devices["platform"]),
        "device_kind": _text(devices["kind"]),
        "mesh": mesh,
        "devices": _device_names(content.get("mesh_devices") or list(held), math.prod(mesh.values())),
        "held": held,
        "rules": rules,
        "nbytes": nbytes,
        "nbytes_foretold": foretold,
        "nbytes_of_adapters": _integer(coverage["bytes"]) - nbytes,
        "unmatched": len(_list(coverage["unmatched"])),
        "nbytes_unmatched": _integer(coverage["unmatched_bytes"]),
        "replicated": _replicated(coverage, block, settings["rank"]),
        "variables": embeddings + block,
        "parameters": parameters,
        "optimizer": _text(optimizer["class"]),
        "decayed_variables": _integer(optimizer["decayed_variables"]),
        "training": Training(
            *(_number(training[name]) for name in ("first_loss", "last_loss", "seconds", "milliseconds_per_step"))
        ),
        "before": _style(style["before"]),
        "after": _style(style["after"]),
        "reviews_gained": _number(shift["reviews"]),
        "lists_gained": _number(shift["lists"]),
        "shifted": _truth(style["shifted"]),
        "share_without_copies": _number(style["share_without_copies"]),
        "prompt": _text(generations["prompt"]),
        "completions": tuple(
            _text(generations[moment])[len(generations["prompt"]) :] for moment in ("before", "after")
        ),
    }


def _embeddings(rules: tuple[Rule, ...], block: tuple[Variable, ...], item_size: int) -> tuple[Variable, ...]:
    """The embeddings by their rule, for a run that did not write their shape down.

    Their last dimension is the hidden width, which a block's scales have as well; the first is what their bytes leave.
    """
    exact = [rule for rule in rules if rule.pattern == EMBEDDINGS]
    matching = exact or [rule for rule in rules if re.fullmatch(rule.pattern, EMBEDDINGS)]
    widths = {variable.shape[0] for variable in block if variable.path.endswith("norm/scale")}
    if len(matching) != 1 or matching[0].variables != 1 or len(widths) != 1:
        return ()
    rule, width = matching[0], widths.pop()
    vocabulary, rest = divmod(rule.nbytes, width * item_size)
    if rest or len(rule.spec) > 2:
        return ()
    spec = rule.spec + ((),) * (2 - len(rule.spec))
    return (Variable(EMBEDDINGS, (vocabulary, width), spec, rule.nbytes),)


def _loaded(coverage: Mapping[str, Any], counted: int) -> tuple[int, int | None]:
    """Bytes of the backbone without adapters, and of what a device holds of it, as the layout map said.

    Args:
        coverage: Of the rules; since they may match adapters, these may be in its sums.
        counted: The bytes of the parameters that there were before LoRA.

    """
    if "loaded" in coverage:
        loaded = _object(coverage["loaded"])
        return _integer(loaded["bytes"]), _integer(loaded["bytes_per_device"])
    nbytes, foretold = _integer(coverage["bytes"]), _integer(coverage["bytes_per_device"])
    return (nbytes, foretold) if nbytes <= counted else (counted, None)


def _replicated(coverage: Mapping[str, Any], block: tuple[Variable, ...], rank: int) -> tuple[Replicated, ...]:
    """What each device holds whole, by kind; the run says it, or else its list of what no rule matches."""
    number: Counter[str] = Counter()
    nbytes: Counter[str] = Counter()
    unknown = set()
    if "replicated" in coverage:
        for row in map(_object, _list(coverage["replicated"])):
            kind = as_kind(_text(row["path"]))
            number[kind] += 1
            nbytes[kind] += _integer(row["bytes"])
    else:
        known = {as_kind(variable.path): variable.nbytes for variable in block}
        for variable in block:
            name = as_kind(variable.path).removesuffix("/kernel")
            # Keras gives an einsum's A the kernel's shape with the rank as its last dimension; both are float32, whatever the dtype.
            known[f"{name}/lora_kernel_a"] = math.prod(variable.shape[:-1]) * rank * ITEM_SIZES["float32"]
            known[f"{name}/lora_kernel_b"] = rank * variable.shape[-1] * ITEM_SIZES["float32"]
        for path in map(_text, _list(coverage["unmatched"])):
            kind = as_kind(path)
            number[kind] += 1
            nbytes[kind] += known.get(kind, 0)
            if kind not in known:
                unknown.add(kind)
        if len(unknown) == 1:
            # What all of them hold is written down, so one kind is what the others leave.
            nbytes[unknown.pop()] = _integer(coverage["unmatched_bytes"]) - nbytes.total()
    found = [Replicated(kind, count, None if kind in unknown else nbytes[kind]) for kind, count in number.items()]
    return tuple(sorted(found, key=lambda row: -math.inf if row.nbytes is None else -row.nbytes))


def _device_names(names: Any, count: int) -> tuple[str, ...]:
    """The names in the mesh's order; with several processes one knows its own alone, and then they are numbers."""
    found = tuple(map(_text, _list(names)))
    return found if len(found) == count else tuple(f"device {number}" for number in range(count))


def _read_prompts(content: dict[str, Any]) -> tuple[tuple[str, Verdict, Verdict], ...]:
    prompts, before, after = (_list(content[name]) for name in ("prompts", "before", "after"))
    if not len(prompts) == len(before) == len(after):
        raise ValueError(f"{len(prompts)} prompts, {len(before)} completions before and {len(after)} after")
    return tuple(
        (_text(prompt), _verdict(prompt, first), _verdict(prompt, second))
        for prompt, first, second in zip(prompts, before, after, strict=True)
    )


def _verdict(prompt: str, given: Any) -> Verdict:
    row = _object(given)
    style = _text(row["style"])
    if style not in ("list", "review"):
        raise ValueError(f'a style is "{style}"')
    return Verdict(
        _text(row["text"])[len(prompt) :],
        style,
        _number(row["probability_of_review"]),
        _number(row["fluency"]),
        _truth(row["fluent"]),
    )


def _style(given: Any) -> Style:
    row = _object(given)
    scores = _object(row["log_likelihood"])
    return Style(
        _number(row["share_of_lists"]),
        _number(row["share_of_reviews"]),
        _number(scores["reviews"]),
        _number(scores["lists"]),
    )


def _variable(given: Any, mesh: Mapping[str, int], item_size: int) -> Variable:
    row = _list(given)
    if len(row) != 3:
        raise ValueError("a row of a sharding is not path, shape and spec")
    path, shape, spec = _text(row[0]), tuple(map(_integer, _list(row[1]))), _spec(row[2], mesh)
    if len(spec) > len(shape) or (shape and min(shape) < 1):
        raise ValueError(f"{path} has the shape {shape} and a spec of {len(spec)} entries")
    return Variable(path, shape, spec + ((),) * (len(shape) - len(spec)), math.prod(shape) * item_size)


def _spec(given: Any, mesh: Mapping[str, int]) -> tuple[Axes, ...]:
    spec = tuple(
        () if axes is None else (axes,) if isinstance(axes, str) else tuple(map(_text, _list(axes)))
        for axes in _list(given)
    )
    if unknown := {axis for axes in spec for axis in axes} - set(mesh):
        raise ValueError(f"a spec names {', '.join(sorted(unknown))}, and the mesh has {', '.join(mesh)}")
    return spec


def _object(value: Any) -> dict[str, Any]:
    return _of(value, dict, "an object")


def _list(value: Any) -> list[Any]:
    return _of(value, list, "a list")


def _text(value: Any) -> str:
    return _of(value, str, "a text")


def _truth(value: Any) -> bool:
    return _of(value, bool, "true or false")


def _integer(value: Any) -> int:
    return _of(value, int, "a whole number")


def _number(value: Any) -> float:
    return float(_of(value, (int, float), "a number"))


def _of(value: Any, kind: Any, word: str) -> Any:
    # JSON's true is an int to Python.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        shown = json.dumps(value, ensure_ascii=False)
        raise ValueError(f"{shown if len(shown) <= 40 else shown[:39] + '…'} where {word} should be")
    return value
