"""The exercise ``generation`` as data: its checks, its codes and its hints.

Imports no framework.
"""

from kit.judge.catalogue import Exercise
from kit.parts.protocols import GenerationPart

EXERCISE = Exercise(
    number=7,
    name="generation",
    title="Generation and style",
    difficulty=3,
    minutes=35,
    prerequisites=("loading",),
    contract=GenerationPart,
    learned="A style shift is a difference of log-likelihoods per token, beside a control, and not an impression.",
    hints=(
        "Task 1: leave the model unchanged. Whatever you change for the call, restore it afterwards, also if an error "
        "is raised. Task 2: which positions count, what do you divide by, and when do you divide? Task 3: what would "
        "the scores of a model be that had only become worse at lists?",
        "Task 1: a model has the attributes sampler and generate_function. keras_hub.samplers has a GreedySampler. "
        "generate also accepts a list of prompts. Task 2: the log-probability of a token is its logit minus the "
        "logarithm of the sum of exponentials. numpy.take_along_axis selects one entry per position. Task 3: min.",
        "Task 1: save both attributes. Unless the sampler is greedy already, set a greedy sampler and set the "
        "compiled function to None. Generate within a try block whose finally restores both. Pass as many copies of "
        "the prompt as the batch axis has rows, and return the first text. Task 2: convert the logits to float32 and "
        "subtract the largest logit of each position before exp. Select the target's logit, subtract the normalizer, "
        "remove the rows of the fillers, multiply by the weight, and sum. Sum the weights separately. Task 3: a "
        "dictionary of differences. The shift is the smaller of two numbers: the gain of reviews, and this gain minus "
        "the gain of lists.",
    ),
    questions={
        ("spec", "style_shift", 30): {
            "shift": "Changes must be differences of the scores, and the shift the smaller number, for any scores."
        },
        ("spec", "complete", 120): {
            "completes": "The text must be the prompt with its most probable continuation and have max_length tokens, "
            "on two meshes, and after the weights have changed.",
            "same_each_time": "The text must be greedy whatever sampler the model is compiled with, and the compile "
            "state must not change, also if generation fails.",
        },
        ("spec", "mean_log_likelihood", 120): {
            "likelihood": "The result must be the mean log-likelihood per token without padding, for any number of "
            "texts, on two meshes, and for large logits."
        },
    },
    remedies={
        "Token by token": {
            "GENERATION_PROMPT_ONLY": "Pass max_length on to `generate`, and return its whole text: max_length "
            "includes the prompt's tokens.",
            "GENERATION_PROMPT_MISSING": "Return the text of `generate` unchanged: it begins with the prompt.",
            "GENERATION_PROMPT_TWICE": "Return the text of `generate` unchanged: it already begins with the prompt.",
            "GENERATION_LENGTH_IGNORED": "Pass max_length on to `generate`.",
        },
        "The same each time": {
            "GENERATION_NOT_DETERMINISTIC": "Set a greedy sampler, and do not use a generate_function that was "
            "compiled with the previous sampler.",
            "GENERATION_STATE_CHANGED": "Restore the model's sampler and its compiled function.",
        },
        "On a mesh": {
            "GENERATION_BATCH_NOT_DIVISIBLE": 'Pass a number of prompts to `generate` that the axis "batch" divides, '
            "and return the first text."
        },
        "How probable is a text?": {
            "LIKELIHOOD_COUNTS_PADDING": "Multiply by the preprocessor's weight, and divide by its sum.",
            "LIKELIHOOD_OVERFLOWS": "Subtract the largest logit of each position before you take the exponential.",
            "LIKELIHOOD_WRONG": "Take the log-softmax of the logits at the next token, in nats. Leave out padding and "
            "fillers, and divide once, at the end.",
        },
        "The control": {
            "STYLE_CONTROL_SHIFTS_TOO": "Require that reviews become more probable: it is not enough that lists "
            "become less probable.",
            "STYLE_NO_SHIFT": "Compare the run with `kit run`, step by step.",
        },
    },
)
