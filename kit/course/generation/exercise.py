"""The exercise ``generation`` as data: its checks, its codes and its hints. Imports no framework."""

from kit.checks.codes import Code
from kit.judge.catalogue import Check, Exercise
from kit.parts.protocols import GenerationPart

EXERCISE = Exercise(
    number=7,
    name="generation",
    title="Generation and style",
    difficulty=3,
    minutes=35,
    prerequisites=("loading",),
    contract=GenerationPart,
    hints=(
        "Task 1: leave the model as a careful guest would: what you change for a moment you put "
        "back, also if something goes wrong in between. Task 2: which of the positions count, and "
        "what do you divide by, and when? Task 3: what would a model look like that has only "
        "forgotten lists?",
        "Task 1: a model has the attributes sampler and generate_function; keras_hub.samplers has "
        "a GreedySampler; generate takes a list too. Task 2: the log-probability of a token is "
        "its logit minus the logarithm of the sum of exponentials; numpy.take_along_axis picks "
        "one entry a position. Task 3: min.",
        "Task 1: keep both attributes, put a greedy sampler and no compiled function in their "
        "place unless the sampler is greedy already, and generate in a try whose finally puts "
        "them back; as many copies of the prompt as the axis wants, the first answer out. Task 2: "
        "logits in float32, the largest of each position taken off before exp; pick the target's, "
        "subtract the normalizer, cut off the fillers' rows, multiply by the weight, add up; the "
        "weights are added up beside it. Task 3: a dictionary of differences, and beside it the "
        "smaller of two of them: what the reviews gained, and by how much that is more than what "
        "the lists did.",
    ),
    checks=(
        Check(
            "shift",
            "spec",
            "style_shift",
            limit=30,
            asks="Each change, and a shift that is above 0 for a run and not for a control.",
        ),
        Check(
            "completes",
            "spec",
            "complete",
            limit=120,
            asks="The prompt and its most probable continuation, on a mesh with a batch axis, max_length tokens in all.",
        ),
        Check(
            "same_each_time",
            "spec",
            "complete",
            limit=120,
            asks="Greedy whatever the model was compiled with, and its compile state stays.",
        ),
        Check(
            "likelihood",
            "spec",
            "mean_log_likelihood",
            limit=120,
            asks="Nats a token, without padding, for any number of texts.",
        ),
    ),
    codes={
        "GENERATION_PROMPT_ONLY": Code(
            "Give `generate` the room: max_length counts the prompt's tokens too.",
            "Token by token",
        ),
        "GENERATION_PROMPT_MISSING": Code(
            "Return the prompt and its continuation.",
            "Token by token",
        ),
        "GENERATION_LENGTH_IGNORED": Code(
            "Pass max_length on to `generate`.",
            "Token by token",
        ),
        "GENERATION_NOT_DETERMINISTIC": Code(
            "Generate with a greedy sampler, and not with a generate_function that was compiled for the sampler before.",
            "The same each time",
        ),
        "GENERATION_STATE_CHANGED": Code(
            "Put the model's sampler and its compiled function back.",
            "The same each time",
        ),
        "GENERATION_BATCH_NOT_DIVISIBLE": Code(
            'Give `generate` as many prompts as the axis "batch" divides, and return the first answer.',
            "On a mesh",
        ),
        "LIKELIHOOD_COUNTS_PADDING": Code(
            "Multiply by the preprocessor's weight, and divide by its sum.",
            "How probable is a text?",
        ),
        "LIKELIHOOD_WRONG": Code(
            "Take the log-softmax of the logits at the next token, in nats; leave out padding and fillers, and divide once, at the end.",
            "How probable is a text?",
        ),
        "STYLE_CONTROL_SHIFTS_TOO": Code(
            "A shift to reviews needs reviews to become more probable; that lists became less so is not enough.",
            "The control",
        ),
        "STYLE_NO_SHIFT": Code(
            "Compare the run with `kit run`, step by step.",
            "The control",
        ),
    },
)
