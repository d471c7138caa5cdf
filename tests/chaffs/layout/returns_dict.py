"""WRONG_RETURN_TYPE: a dictionary of rules."""


def gemma_layout_map(device_mesh):
    return {"token_embedding/embeddings": ("model", None)}
