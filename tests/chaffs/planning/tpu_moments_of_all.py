"""PLANNING_WRONG_BYTES in tpu_compile: with LoRA too, two moments for each weight."""

from kit.reference.planning import all_reduce_nbytes, make_it_fit  # noqa: F401


def argument_nbytes(architecture, mesh, rank, dtype):
    heads = architecture["num_query_heads"] + architecture["num_key_value_heads"]
    hidden, head_dim, layers = (architecture[name] for name in ("hidden_dim", "head_dim", "num_layers"))
    block = 2 * heads * hidden * head_dim + 3 * hidden * architecture["intermediate_dim"] // 2
    matrices = architecture["vocabulary_size"] * hidden + layers * block
    scales = (2 * layers + 1) * hidden
    adapters = layers * rank * (heads * hidden + 2 * head_dim)
    size = 2 if dtype == "bfloat16" else 4
    model = (matrices // mesh[1] + scales) * size
    return 3 * (model + 4 * adapters)
