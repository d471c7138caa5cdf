"""LORA_WRONG_COUNT: A and B of a flat matrix, as PEFT has them: 1.6 M and not 11 M."""

from kit.reference.lora import count_parameters, enable_lora  # noqa: F401


def expected_lora_parameters(architecture, rank):
    hidden, heads = architecture["hidden_dim"], architecture["num_query_heads"] * architecture["head_dim"]
    values = architecture["num_key_value_heads"] * architecture["head_dim"]
    return architecture["num_layers"] * rank * (hidden + heads + hidden + values)
