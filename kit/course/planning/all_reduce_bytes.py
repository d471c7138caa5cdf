"""The oracle of ``all_reduce_nbytes``: what the TPU compiler made of Gemma 7B with few blocks."""

from kit.models.architectures import GEMMA_7B

#: (Decoder blocks, rank) -> bytes of the results of all all-reduces in a step of Gemma 7B on a
#: v3-8: mesh (1, 8), float32, 2 examples of 128 tokens, compiled by libtpu 0.0.42.1.
COMPILED: dict[tuple[int, int], int] = {
    (1, 4): 15_740_928,
    (2, 4): 28_332_032,
    (3, 4): 40_923_136,
    (1, 0): 18_878_464,
    (2, 0): 31_461_376,
    (3, 0): 44_044_288,
}
COMPILED_TOKENS = 2 * 128


def activation_nbytes(tokens: int) -> int:
    """Bytes of one activation, of shape (batch, sequence, hidden), in float32."""
    hidden: int = GEMMA_7B["config"]["hidden_dim"]
    return tokens * hidden * 4


def compiled_activations(layers: int, rank: int) -> int:
    """How many activations the compiled step reduces; each block after the first adds as many."""
    first, second = (round(COMPILED[number, rank] / activation_nbytes(COMPILED_TOKENS)) for number in (1, 2))
    return first + (layers - 1) * (second - first)
