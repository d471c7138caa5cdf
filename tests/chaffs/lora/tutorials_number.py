"""LORA_WRONG_COUNT: the tutorial's number, written out."""

from kit.reference.lora import count_parameters, enable_lora  # noqa: F401


def expected_lora_parameters(architecture, rank):
    return 11_067_392
