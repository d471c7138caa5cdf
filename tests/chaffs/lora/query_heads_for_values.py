"""LORA_WRONG_COUNT: as many value heads as query heads, which is so at 7B and not at 2B."""

from kit.reference.lora import count_parameters, enable_lora  # noqa: F401


def expected_lora_parameters(architecture, rank):
    a = architecture["num_query_heads"] * architecture["hidden_dim"] * rank
    return 2 * architecture["num_layers"] * (a + rank * architecture["head_dim"])
