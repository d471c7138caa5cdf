"""The closed forms of ``planning``, and what the usual mistakes give instead.

Names of mistakes are those of ``kit.course.planning.mistakes``. A test compares the right values
with Keras' own variables, and with programs of the TPU compiler.
"""

from kit.course.planning.cases import Case
from kit.judge.mistakes import RIGHT, Names


def argument_nbytes(case: Case, names: Names = RIGHT) -> int:
    """Bytes of weights, adapters and moments on one device."""
    sizes, lora = case.sizes, case.rank > 0
    layers = 1 if "layers_forgotten" in names else sizes["num_layers"]
    hidden = sizes["hidden_dim"]
    matrices = _embeddings(case, names) + layers * _block(case, names)
    scales = (2 * layers + (0 if "last_scale_forgotten" in names else 1)) * hidden
    if "scales_forgotten" in names:
        scales = 0
    adapters = _adapters(case, names)
    model, adapter = _itemsizes(case, names)
    splits = _splits(case, names)
    held = matrices // splits + scales // (splits if "scales_split" in names else 1)
    adapters //= splits if "adapters_split" in names else 1
    of_model, of_adapters = (0, 2) if lora else (2, 0)
    if "no_moments" in names:
        of_model = of_adapters = 0
    if "one_moment" in names:
        of_model, of_adapters = of_model // 2, of_adapters // 2
    if "moments_of_frozen" in names:
        of_model, of_adapters = 2, 2
    moment = 4 if "moments_in_float32" in names else model
    return held * (model + of_model * moment) + adapters * adapter * (1 + of_adapters)


def _embeddings(case: Case, names: Names = RIGHT) -> int:
    elements = int(case.sizes["vocabulary_size"] * case.sizes["hidden_dim"])
    return 2 * elements if "embeddings_twice" in names else elements


def _block(case: Case, names: Names = RIGHT) -> int:
    """Elements of the matrices of a block."""
    sizes = case.sizes
    queries, values, wide = sizes["num_query_heads"], sizes["num_key_value_heads"], sizes["intermediate_dim"] // 2
    if "as_many_value_heads" in names:
        values = queries
    if "intermediate_not_halved" in names:
        wide *= 2
    gating = 1 if "one_gating" in names else 2
    attention = 2 * (queries + values) * sizes["hidden_dim"] * sizes["head_dim"]
    return int(attention + (gating + 1) * sizes["hidden_dim"] * wide)


def _adapters(case: Case, names: Names = RIGHT) -> int:
    """Elements of all adapters."""
    sizes, rank = case.sizes, case.rank
    if "adapters_forgotten" in names:
        return 0
    if "rank_forgotten" in names:
        rank = min(rank, 1)
    heads = [sizes["num_query_heads"], sizes["num_key_value_heads"]]
    if "query_heads_for_value" in names or "as_many_value_heads" in names:
        heads[1] = heads[0]
    layers = 1 if "layers_forgotten" in names else sizes["num_layers"]
    per_block = sum(number * sizes["hidden_dim"] for number in heads)
    per_block += sum(sizes["head_dim"] * (number if "b_for_each_head" in names else 1) for number in heads)
    return int(layers * rank * per_block)


def _itemsizes(case: Case, names: Names) -> tuple[int, int]:
    """Bytes of an element of the model, and of an adapter."""
    model = 2 if case.dtype == "bfloat16" else 4
    if "dtype_ignored" in names:
        model = 4
    if "mixed_is_half" in names and case.dtype != "float32":
        model = 2
    return model, model if "adapters_in_dtype" in names else 4


def _splits(case: Case, names: Names) -> int:
    """Among how many devices a matrix is split."""
    batch, model = case.mesh
    if "not_split" in names:
        return 1
    if "over_batch" in names:
        return batch
    over_all = case.layout == "fsdp" and "fsdp_as_tensor" not in names
    return batch * model if over_all or "over_all_devices" in names else model


def activation_nbytes(case: Case, names: Names = RIGHT) -> int:
    """Bytes on one device of the blocks' inputs and the logits."""
    batch, model = case.mesh
    hidden, vocabulary, layers = (case.sizes[name] for name in ("hidden_dim", "vocabulary_size", "num_layers"))
    inputs = (1 if "blocks_forgotten" in names else layers) * hidden
    if "inputs_split" in names:
        inputs //= model
    logits = vocabulary // (1 if "vocabulary_not_split" in names else model)
    if "logits_forgotten" in names:
        logits = 0
    tokens = case.tokens // (1 if "tokens_not_split" in names else batch)
    if "tokens_over_all_devices" in names:
        tokens = case.tokens // (batch * model)
    if "length_forgotten" in names:
        tokens //= case.length
    of_logits = 4 if "logits_in_float32" in names else _computed(case, names)
    return int(tokens * (inputs * _computed(case, names) + logits * of_logits))


def _computed(case: Case, names: Names) -> int:
    """Bytes of an element that is computed."""
    if "elements" in names:
        return 1
    if "stored_dtype" in names:
        return 2 if case.dtype == "bfloat16" else 4
    return 4 if "always_float32" in names else case.itemsize


def cache_nbytes(case: Case, names: Names = RIGHT) -> int:
    """Bytes on one device of the keys and values of all tokens."""
    batch, model = case.mesh
    sizes = case.sizes
    heads = sizes["num_query_heads" if "query_heads" in names else "num_key_value_heads"]
    if "heads_not_split" in names:
        model = 1
    if heads % model == 0:
        heads //= model
    elif "always_split" in names:
        heads /= model
    elif "at_least_one_head" in names:
        heads = max(1, heads // model)
    layers = 1 if "blocks_forgotten" in names else sizes["num_layers"]
    examples = case.batch_size // (1 if "tokens_not_split" in names else batch)
    elements = (1 if "keys_alone" in names else 2) * layers * examples * case.length * heads * sizes["head_dim"]
    return int(elements * _computed(case, names))


def sent_nbytes(case: Case, names: Names = RIGHT) -> dict[str, int]:
    """Bytes that a device sends in the all-reduces over each axis."""
    batch, model = case.mesh
    sizes, lora = case.sizes, case.rank > 0
    layers = sizes["num_layers"]
    each = 2 if "forward_alone" in names else 7 if "each_matrix" in names else 4
    number = each * layers + (0 if "outside_forgotten" in names else 2)
    if lora and "lora_as_all" not in names:
        number -= 1
    tokens = case.tokens // (1 if "tokens_not_split" in names else batch)
    activations = number * tokens * sizes["hidden_dim"] * 4
    sent = {
        "model": round(activations * _ring(model, names)),
        "batch": round(_gradients(case, names) * _ring(batch, names)),
    }
    if "elements" in names:
        sent = {axis: nbytes // 4 for axis, nbytes in sent.items()}
    if "axes_exchanged" in names:
        sent = {"model": sent["batch"], "batch": sent["model"]}
    return sent


def _gradients(case: Case, names: Names) -> int:
    """Bytes of the gradients that a device exchanges with the other rows of the mesh."""
    model = 1 if "gradients_not_split" in names else case.mesh[1]
    if "gradients_forgotten" in names:
        return 0
    if case.rank and "gradients_of_all" not in names:
        return 4 * _adapters(case)
    layers = case.sizes["num_layers"]
    # The compiler reduces what the lookup and what the logits contribute one after the other.
    embeddings = (1 if "embeddings_once" in names else 2) * _embeddings(case)
    scales = (2 * layers + (0 if "last_scale_forgotten" in names else 1)) * case.sizes["hidden_dim"]
    if "scales_forgotten" in names:
        scales = 0
    if "scales_split" in names:
        scales //= model
    return int(4 * ((embeddings + layers * _block(case)) // model + scales))


def _ring(devices: int, names: Names) -> float:
    """Bytes that a device sends for each byte of an all-reduce's result."""
    if "ring_forgotten" in names:
        return 1.0 if devices > 1 else 0.0
    if "half_a_ring" in names:
        return (devices - 1) / devices
    if "twice" in names:
        return 2.0 if devices > 1 else 0.0
    return 2 * (devices - 1) / devices
