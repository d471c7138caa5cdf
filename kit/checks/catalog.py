"""The checks: what each exercise is asked, in the order in which a learner meets it.

Imports no framework: whether a stub is untouched is answered from this table alone. The functions themselves are in
``kit.checks.<exercise>``, under the same names.
"""

import importlib.util
from dataclasses import dataclass

from kit.parts import EXERCISE_FUNCTIONS

#: Layers of checks, cheap ones first.
LAYERS = {
    "interface": "is it implemented, do names and signatures fit",
    "spec": "mesh, sharding specs, rule coverage, bytes per device, data",
    "params": "parameter counts in closed form, at 2B and 7B",
    "program": "collectives of the compiled step",
    "train": "losses step by step against an unsharded twin, adapters and base, resuming",
    "tpu_compile": "memory and collectives of the step, by the TPU compiler (needs libtpu, and no TPU)",
    "style": "the shift of what the model writes, and the control",
    "tpu": "the tutorial itself with gemma_7b_en; needs a TPU and access to Kaggle",
}


#: All parts together, as `kit run` runs them.
RUN = "run"


@dataclass(frozen=True)
class Check:
    """One question to a solution."""

    exercise: str
    #: The name of its function in ``kit.checks.<exercise>``.
    name: str
    layer: str
    #: The function of the exercise that it is about; empty where it is about all of them.
    function: str
    #: What it asks, in one sentence.
    asks: str
    #: Seconds after which it is given up; many times what the reference takes.
    limit: float

    @property
    def id(self) -> str:
        """As pytest shows it."""
        return self.name.replace("_", "-")


def _checks(exercise: str, layer: str, function: str, limit: float, **asks: str) -> list[Check]:
    return [Check(exercise, name, layer, function, sentence, limit) for name, sentence in asks.items()]


def _interface(exercise: str) -> list[Check]:
    return [
        Check(
            exercise,
            f"interface_of_{function}",
            "interface",
            function,
            f"{function} is there, and can be called as the stub says.",
            15,
        )
        for function in EXERCISE_FUNCTIONS[exercise]
    ]


_CHECKS: list[Check] = [
    check
    for checks in (
        *map(_interface, EXERCISE_FUNCTIONS),
        _checks(
            "mesh",
            "spec",
            "make_device_mesh",
            15,
            refuses="Sizes that do not fit the devices are a ValueError with both numbers.",
            shape="The grid has the sizes asked for, and axes named batch and model.",
            devices="The devices given are used, in their order; all of them by default.",
        ),
        _checks(
            "layout",
            "spec",
            "gemma_layout_map",
            45,
            small_model="On a small model and on each mesh, every matrix is split along the right dimension.",
            gemma_7b="So it is on Gemma 7B with its 28 layers (without its weights).",
            adapters="No rule catches an adapter that it does not fit.",
        ),
        _checks(
            "layout",
            "program",
            "gemma_layout_map",
            120,
            collective_bytes="The compiled gradients send no more bytes than tensor parallelism needs.",
        ),
        _checks(
            "layout",
            "tpu_compile",
            "gemma_layout_map",
            240,
            v3_8="Compiled for a TPU v3-8, Gemma 7B's step fits, and holds and sends no more than it needs to.",
        ),
        _checks(
            "loading",
            "spec",
            "load_distributed",
            60,
            distribution="The distribution is set before the model is made, is the right one, and stays set.",
            weights="The weights are those of the preset.",
            options="Options such as dtype reach from_preset.",
        ),
        _checks(
            "loading",
            "spec",
            "sharding_table",
            60,
            table="The table has path, shape and spec of each variable, as its array says.",
        ),
        _checks(
            "reviews",
            "spec",
            "prepare_reviews",
            15,
            text_alone="Labels are dropped, and a run of markup is one space.",
            too_few="Too few reviews are a ValueError with both numbers.",
            order="All of the reviews are shuffled, with the seed and with nothing else.",
            full_batches="There are as many batches as asked for, each full, and no review twice.",
        ),
        _checks(
            "lora",
            "params",
            "enable_lora",
            60,
            adapters="Adapters of that rank stand beside query and value, and nothing else is trained.",
        ),
        _checks(
            "lora",
            "params",
            "count_parameters",
            90,
            counts="Trainable and all parameters of a small model, and of Gemma 2B and 7B with LoRA.",
        ),
        _checks(
            "lora",
            "params",
            "expected_lora_parameters",
            30,
            arithmetic="The closed form at 2B, at 7B, and with fewer key and value heads.",
        ),
        _checks(
            "training",
            "spec",
            "compile_for_finetuning",
            90,
            optimizer="AdamW with this rate and decay; biases and scales do not decay; moments lie where their variable lies.",
            loss="Cross-entropy of the next token over logits, padding not counted; neither does the accuracy count it.",
        ),
        _checks(
            "training",
            "train",
            "finetune",
            180,
            fit="Batches as they are, in their order, for so many epochs, with the callbacks; step by step as the unsharded twin.",
        ),
        _checks(
            "training",
            "train",
            "make_train_step",
            180,
            step="Five steps by hand are those of the unsharded twin, on two meshes; the state is donated.",
        ),
        _checks(
            "training",
            "train",
            "compile_for_finetuning",
            240,
            learns="With your compile_for_finetuning and finetune the loss of the bundled model goes down.",
        ),
        _checks(
            "training",
            "tpu_compile",
            "make_train_step",
            240,
            v3_8="Compiled for a TPU v3-8, a step that trains all of Gemma 7B holds and sends no more than it has to.",
        ),
        _checks(
            "generation",
            "spec",
            "style_shift",
            30,
            shift="Each change, and a shift that is above 0 for a run and not for a control.",
        ),
        _checks(
            "generation",
            "spec",
            "complete",
            120,
            completes="The prompt and its most probable continuation, on a mesh with a batch axis, max_length tokens in all.",
            same_each_time="Greedy whatever the model was compiled with, and its compile state stays.",
        ),
        _checks(
            "generation",
            "spec",
            "mean_log_likelihood",
            120,
            likelihood="Nats a token, without padding, for any number of texts.",
        ),
        _checks(
            "checkpoint",
            "train",
            "save_training",
            180,
            resume="With LoRA: a fresh model goes on exactly where the saved one was.",
            resume_elsewhere="Without LoRA, and from one mesh to another.",
            resume_bfloat16="A model in bfloat16 is saved and restored to the last bit.",
        ),
        _checks(
            "checkpoint",
            "train",
            "merge_adapters",
            180,
            merge="The merged model gives the same logits, and has nothing left to train.",
        ),
        _checks(
            "planning",
            "params",
            "argument_nbytes",
            60,
            arguments="What a device holds of Gemma 7B in four configurations, and of other models, to the byte.",
        ),
        _checks(
            "planning",
            "params",
            "all_reduce_nbytes",
            30,
            all_reduces="What the all-reduces of a step give, for one to 28 blocks, beside what the TPU compiler made of them.",
        ),
        _checks(
            "planning",
            "params",
            "make_it_fit",
            30,
            settings="Settings that make a step of enough tokens for a v3-8, whose state has room on a core, and that moves the weights.",
        ),
        _checks(
            "planning",
            "tpu_compile",
            "argument_nbytes",
            240,
            compiled_arguments="The compiler agrees about what a core holds, for one block of Gemma 7B in bfloat16.",
        ),
        _checks(
            "planning",
            "tpu_compile",
            "all_reduce_nbytes",
            240,
            compiled_all_reduces="The compiler agrees about the all-reduces, for one block of Gemma 7B and longer texts.",
        ),
        _checks(
            "planning",
            "tpu_compile",
            "make_it_fit",
            240,
            v3_8="Compiled for a TPU v3-8 with these settings, a step that trains all of Gemma 7B fits.",
        ),
        _checks(
            "clinic",
            "spec",
            "too_much_on_each_core",
            60,
            memory="No matrix is held whole, on a small model and on Gemma 7B, and no adapter is caught.",
        ),
        _checks(
            "clinic",
            "spec",
            "twice_the_collectives",
            60,
            dimensions="Every matrix is split along the dimension that costs least.",
        ),
        _checks(
            "clinic",
            "program",
            "twice_the_collectives",
            120,
            collectives="The compiled gradients send no more bytes than tensor parallelism needs.",
        ),
        _checks(
            "clinic",
            "spec",
            "nothing_is_split",
            60,
            rules="Every rule matches something in the Keras of today, and what it is to match.",
        ),
        _checks(
            "clinic",
            "spec",
            "one_head_on_eight_cores",
            60,
            one_head="Gemma 2B is made with and without LoRA: key and value are held whole, all other matrices are split.",
        ),
        _checks(
            "clinic",
            "spec",
            "moments_on_every_core",
            90,
            moments="The optimizer is as it was asked for, and its moments lie where their variable lies.",
            loss="Loss and accuracy are what they were.",
        ),
        _checks(
            "precision",
            "spec",
            "share_unchanged",
            30,
            shares="The share of entries that stay, to the last: usual kernels, signs, ties, powers of two.",
        ),
        _checks(
            "precision",
            "spec",
            "effect_kept",
            30,
            effects="The factor of the change is found, whatever noise is beside it.",
        ),
        _checks(
            "precision",
            "spec",
            "adapted_outputs",
            60,
            outputs="For each kind of layer that Gemma has, outputs are right, in the dtype of the inputs, and keep a small update.",
        ),
        _checks(
            "precision",
            "spec",
            "add_adapters_in_float32",
            60,
            layers="On a mesh, each layer with LoRA keeps a small update, and variables stay as they are.",
        ),
        _checks(
            "precision",
            "train",
            "add_adapters_in_float32",
            120,
            gradients="The gradients of adapters in bfloat16 point where those of a twin in float32 do.",
        ),
        _checks(
            "multihost",
            "spec",
            "process_settings",
            30,
            settings="The settings as Keras takes them, and a ValueError with a variable's name for each that makes no sense.",
        ),
        _checks(
            "multihost",
            "spec",
            "own_rows",
            30,
            rows="On each mesh each process feeds what JAX says that its devices hold, in the order in which JAX takes it.",
        ),
        _checks(
            "multihost",
            "spec",
            "rows_of_whole_batch",
            30,
            counts="By what one process feeds, the rows that the whole batch is taken to have.",
        ),
        _checks(
            "multihost",
            "spec",
            "whole_value",
            30,
            whole="In one process: arrays that are split by either axis, by both, by none, or that have no mesh.",
        ),
        _checks(
            "multihost",
            "spec",
            "save_once",
            30,
            saves="All processes gather the same in the same order, and process 0 alone writes.",
        ),
        _checks(
            "multihost",
            "train",
            "whole_value",
            240,
            two_processes="Two processes of four devices train as an unsharded twin does, and come to their end.",
        ),
        _checks(
            RUN,
            "style",
            "",
            900,
            style_shift="The whole tutorial with these parts: lists before, reviews after, the loss goes down.",
            control="A third of the steps on reviews with their words shuffled is no shift.",
        ),
        _checks(
            RUN,
            "tpu",
            "",
            3600,
            tutorial="Gemma 7B: 11,067,392 trainable parameters, the loss goes down, the style shifts.",
        ),
    )
    for check in checks
]

CHECKS: dict[str, tuple[Check, ...]] = {
    exercise: tuple(check for check in _CHECKS if check.exercise == exercise) for exercise in (*EXERCISE_FUNCTIONS, RUN)
}


def checks_of(exercise: str) -> tuple[Check, ...]:
    """The checks of an exercise, cheap layers first."""
    return tuple(sorted(CHECKS[exercise], key=lambda check: list(LAYERS).index(check.layer)))


def find_check(exercise: str, name: str) -> Check:
    """The check of that name."""
    (found,) = [check for check in CHECKS[exercise] if check.name == name]
    return found


def can_be_made(check: Check) -> bool:
    """Whether this machine has what a check needs beside its libraries; where not, nobody is to blame."""
    return check.layer != "tpu_compile" or importlib.util.find_spec("libtpu") is not None
