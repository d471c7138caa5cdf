"""The patients of ``clinic``: layout maps and moments with mistakes that a seed chooses."""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kit.course.shared import tensor_parallel
from kit.course.shared.meshes import mesh_shapes

Spec = tuple[str | None, ...]
Rules = Mapping[str, Spec]

#: Sizes that decide: query heads, key and value heads, and hidden dimension of each family.
_FAMILIES = (
    ("as many key and value heads as query heads", 16, 16, 3072),
    ("one key and value head", 8, 1, 2048),
    ("four key and value heads", 8, 4, 2304),
)
#: Layers that can have LoRA.
ALL_LAYERS = ("query", "value", "attention_output", "ffw_gating", "ffw_gating_2", "ffw_linear")
_LORA = {"without LoRA": (), "LoRA on query and value": ("query", "value"), "LoRA on all layers": ALL_LAYERS}
#: A way to write patterns -> what stands before the names of layers, and before their last part.
_STYLES = {"wildcards": (".*/", "/"), "blocks": (r"decoder_block_\d+/(attention/)?", "/"), "dots": (".*", ".")}
#: The rules of the tutorial: layers of one rule, and their spec.
_HEALTHY: tuple[tuple[str, Spec], ...] = (
    ("(query|key|value)", ("model", None, None)),
    ("attention_output", ("model", None, None)),
    ("ffw_gating(_2)?", (None, "model")),
    ("ffw_linear", ("model", None)),
)
#: Specs with the same bytes on each device and more collectives, by the layers of the rule.
_COSTLY: dict[str, tuple[Spec, ...]] = {
    "(query|key|value)": ((None, "model", None), (None, None, "model")),
    "attention_output": ((None, "model", None), (None, None, "model")),
    "ffw_gating(_2)?": (("model", None),),
    "ffw_linear": ((None, "model"),),
}
#: What a patient can have; each is made of the healthy rules by :func:`_ill`.
MISTAKES = (
    "healthy",
    "exact path and pattern",
    "gating missed",
    "ten blocks",
    "layer forgotten",
    "written for re.search",
    "wrong dimension",
    "scales split",
    "open end",
    "two rules",
    "end left out",
    "spec too long",
    "exact paths and pattern",
)


def seed() -> int:
    """The seed of the patients: 0, or the value of ``KIT_CHECK_SEED``."""
    return int(os.environ.get("KIT_CHECK_SEED", "0"))


@dataclass(frozen=True)
class Patient:
    """A layout map for a model on a mesh."""

    description: str
    #: Sizes of the axes "batch" and "model".
    mesh: tuple[int, int]
    #: A backbone's ``get_config()``.
    sizes: Mapping[str, int]
    #: Path -> shape of each variable.
    shapes: Mapping[str, tuple[int, ...]]
    rules: Rules

    def layout_map(self) -> keras.distribution.LayoutMap:
        """Its layout map, a new one for each call."""
        layout_map = keras.distribution.LayoutMap(tensor_parallel.device_mesh(*self.mesh))
        for pattern, spec in self.rules.items():
            layout_map[pattern] = spec
        return layout_map


def shapes_of(sizes: Mapping[str, int], rank: int = 0, adapted: Sequence[str] = ()) -> dict[str, tuple[int, ...]]:
    """Path -> shape of all variables of a Gemma, with LoRA of this rank on these layers."""
    hidden, head_dim, half = sizes["hidden_dim"], sizes["head_dim"], sizes["intermediate_dim"] // 2
    queries, values = sizes["num_query_heads"], sizes["num_key_value_heads"]
    kernels = {
        "attention/query": (queries, hidden, head_dim),
        "attention/key": (values, hidden, head_dim),
        "attention/value": (values, hidden, head_dim),
        "attention/attention_output": (queries, head_dim, hidden),
        "ffw_gating": (hidden, half),
        "ffw_gating_2": (hidden, half),
        "ffw_linear": (half, hidden),
    }
    found: dict[str, tuple[int, ...]] = {"token_embedding/embeddings": (sizes["vocabulary_size"], hidden)}
    for block in (f"decoder_block_{number}" for number in range(sizes["num_layers"])):
        for layer, shape in kernels.items():
            found[f"{block}/{layer}/kernel"] = shape
            if layer.split("/")[-1] in adapted:
                found[f"{block}/{layer}/lora_kernel_a"] = (*shape[:-1], rank)
                found[f"{block}/{layer}/lora_kernel_b"] = (rank, shape[-1])
        found |= {f"{block}/{norm}/scale": (hidden,) for norm in ("pre_attention_norm", "pre_ffw_norm")}
    return found | {"final_normalization/scale": (hidden,)}


def patients() -> list[Patient]:
    """Patients with each mistake alone, on different models and meshes, and with two at once."""
    random_ = random.Random(seed())
    made = [_patient(random_, [mistake], number) for number, mistake in enumerate(MISTAKES)]
    # Rules that are right for many heads, where there are fewer than devices.
    made.append(_patient(random_, ["healthy"], 1, family=1, few_heads_split=True))
    # Four heads, which the axis does not divide.
    made.append(_patient(random_, ["healthy"], 2, family=2, longest_axis=True))
    ill = MISTAKES[2:]
    made += [_patient(random_, random_.sample(ill, 2), number) for number in range(6)]
    return made


def _patient(
    random_: random.Random,
    mistakes: Sequence[str],
    number: int,
    family: int | None = None,
    few_heads_split: bool = False,
    longest_axis: bool = False,
) -> Patient:
    name, queries, values, hidden = _FAMILIES[number % len(_FAMILIES) if family is None else family]
    sizes = {
        "vocabulary_size": 1024 * random_.randint(20, 250),
        "num_layers": random_.randint(12, 28),
        "num_query_heads": queries,
        "num_key_value_heads": values,
        "hidden_dim": hidden,
        "intermediate_dim": 256 * random_.randint(60, 190),
        "head_dim": 256,
    }
    shapes = [shape for shape in mesh_shapes() if shape[1] > 1]
    mesh = shapes[0] if few_heads_split or longest_axis else random_.choice(shapes)
    # No axis divides these ranks.
    lora, rank = list(_LORA)[2 if "open end" in mistakes else number % 3], random_.choice((3, 5, 7))
    style = random_.choice(sorted(_STYLES)) if "exact path and pattern" not in mistakes else "wildcards"
    split = values % mesh[1] == 0 or few_heads_split
    rules = _healthy(style, split)
    for mistake in mistakes:
        rules = _ill(random_, rules, mistake, style, sizes["num_layers"])
    return Patient(f"{name}, {lora}", mesh, sizes, shapes_of(sizes, rank, _LORA[lora]), rules)


def _healthy(style: str, split: bool) -> dict[str, Spec]:
    """The tutorial's rules; key and value are left out unless they can be split."""
    before, slash = _STYLES[style]
    rules: dict[str, Spec] = {r"token_embedding/embeddings": ("model", None)}
    for layers, spec in _HEALTHY:
        shown = layers if split or "key" not in layers else "query"
        rules[f"{before}{shown}{slash}kernel"] = spec
    return rules


def _ill(random_: random.Random, rules: dict[str, Spec], mistake: str, style: str, layers: int) -> dict[str, Spec]:
    """The rules with one mistake more."""
    before, slash = _STYLES[style]

    def named(part: str) -> str:
        return next((pattern for pattern in rules if part in pattern), "")

    def renamed(old: str, new: str) -> dict[str, Spec]:
        return {new if pattern == old else pattern: spec for pattern, spec in rules.items()}

    matrices = [pattern for pattern in rules if "token_embedding" not in pattern and pattern.endswith("kernel")]
    if mistake == "exact path and pattern":
        return rules | {f"decoder_block_{random_.randint(0, 9)}/ffw_linear/kernel": ("model", None)}
    if mistake == "exact paths and pattern":
        # Keras takes these, and the pattern for the same paths decides nothing.
        return rules | {f"decoder_block_{number}/ffw_linear/kernel": ("model", None) for number in range(layers)}
    if mistake == "gating missed":
        return renamed(named("ffw_gating"), named("ffw_gating").replace("(_2)?", ""))
    if mistake == "ten blocks":
        chosen = random_.choice(matrices)
        name = chosen.removeprefix(before)
        between = "attention/" if "query" in name or "attention_output" in name else ""
        return renamed(chosen, f"decoder_block_[0-9]/{between}{name}")
    if mistake == "layer forgotten":
        forgotten = random_.choice(matrices)
        return {pattern: spec for pattern, spec in rules.items() if pattern != forgotten}
    if mistake == "written for re.search":
        chosen = random_.choice(matrices)
        return renamed(chosen, chosen.removeprefix(before).removesuffix(f"{slash}kernel"))
    if mistake == "wrong dimension":
        chosen = random_.choice([kernels for kernels in _COSTLY if named(kernels)] or ["ffw_linear"])
        return rules | ({named(chosen): random_.choice(_COSTLY[chosen])} if named(chosen) else {})
    if mistake == "scales split":
        return rules | {".*/scale": ("model",)}
    if mistake == "open end":
        chosen = random_.choice(matrices)
        return renamed(chosen, chosen.removesuffix(f"{slash}kernel") + "/.*")
    if mistake == "end left out":
        chosen = random_.choice(matrices)
        return renamed(chosen, chosen.removesuffix(f"{slash}kernel"))
    if mistake == "spec too long":
        return rules | {"token_embedding/embeddings": ("model", None, None)}
    if mistake == "two rules":
        return rules | {r".*/(ffw_linear|ffw_gating)/kernel": (None, "model")}
    return rules


#: How an optimizer was built, or what was done to its moments.
_MOMENTS = (
    "healthy",
    "replicated",
    "first replicated",
    "second replicated",
    "one device",
    "of all variables",
    "before LoRA",
)


@dataclass(frozen=True)
class MomentsPatient:
    """A model's trained variables, and the moments that an optimizer keeps, on a mesh."""

    description: str
    mesh: tuple[int, int]
    #: Path -> shape and spec of each trained variable.
    trained: Mapping[str, tuple[tuple[int, ...], Spec]]
    #: Path of a variable -> shape and spec of its two moments; a spec of None is one device alone.
    moments: Mapping[str, Sequence[tuple[tuple[int, ...], Spec | None]]]

    def arrays(self) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """The trained variables and the moments as JAX arrays on the devices."""
        import jax
        import numpy as np

        mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(self.mesh), ("batch", "model"))

        def placed(shape: tuple[int, ...], spec: Spec | None) -> Any:
            where: Any = jax.devices()[0]
            if spec is not None:
                where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
            return jax.device_put(np.zeros(shape, "float32"), where)

        trained = {path: placed(*variable) for path, variable in self.trained.items()}
        return trained, {path: [placed(*moment) for moment in both] for path, both in self.moments.items()}


def moments_patients() -> list[MomentsPatient]:
    """An optimizer of each kind, on each mesh with an axis "model"."""
    random_ = random.Random(seed() + 1)
    found = []
    for mesh in [shape for shape in mesh_shapes() if shape[1] > 1]:
        for kind in _MOMENTS:
            found.append(_moments_patient(random_, kind, mesh))
    return found


def _moments_patient(random_: random.Random, kind: str, mesh: tuple[int, int]) -> MomentsPatient:
    size = mesh[0] * mesh[1]
    frozen = {f"decoder_block_{number}/ffw_linear/kernel": ((2 * size, 6), ("model", None)) for number in range(3)}
    lora = kind in ("of all variables", "before LoRA")
    trained: dict[str, tuple[tuple[int, ...], Spec]] = {
        f"decoder_block_{number}/attention/{layer}/lora_kernel_a": (
            (size, 6, 3),
            ("model",) if layer == "query" else (),
        )
        for number in range(3)
        for layer in ("query", "value")
    }
    if not lora:
        trained |= frozen | {"final_normalization/scale": ((6,), ())}
    moments: dict[str, list[tuple[tuple[int, ...], Spec | None]]] = {}
    for path, (shape, spec) in trained.items():
        # The same shards, written in other ways: an axis of one device splits nothing.
        padded = (*spec, *[None] * (len(shape) - len(spec)))
        unsplit = (spec[0], "batch") if spec and mesh[0] == 1 else spec
        moments[path] = [(shape, padded), (shape, unsplit)]
    chosen = [random_.choice(sorted(path for path, (_, spec) in trained.items() if spec))]
    for path in trained if kind == "replicated" else chosen:
        shape = trained[path][0]
        if "replicated" in kind:
            first, second = moments[path]
            moments[path] = [
                first if kind == "second replicated" else (shape, ()),
                second if kind == "first replicated" else (shape, ()),
            ]
        if kind == "one device":
            moments[path] = [(shape, None), (shape, None)]
    if lora:
        moments |= {path: [variable, variable] for path, variable in frozen.items()}
    if kind == "before LoRA":
        moments = {path: both for path, both in moments.items() if path in frozen}
    return MomentsPatient(kind, mesh, trained, moments)
