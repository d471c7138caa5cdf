"""WRONG_RETURN_TYPE: a text."""

from kit.reference.lora import count_parameters, enable_lora  # noqa: F401


def expected_lora_parameters(architecture, rank):
    return "about 11 M"
