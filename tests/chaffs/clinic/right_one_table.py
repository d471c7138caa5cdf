"""PASSES: TensorLayout objects, and lookarounds; key and value are named, and whole."""

import keras
from keras.distribution import LayoutMap, TensorLayout

from kit.reference.training import compile_for_finetuning as moments_on_every_core  # noqa: F401

#: Trailing Nones may be left out.
FIRST, SECOND, WHOLE = ("model",), (None, "model"), ()


def healthy(device_mesh, **more):
    table = {
        r"token_embedding/.+": FIRST,
        r".+/attention/(?!.*lora)(?!key|value).+": FIRST,
        r".+/(key|value)/kernel": FIRST,
        r".+/ffw_gating\w*/kernel": SECOND,
        r".+/ffw_linear/kernel": FIRST,
    }
    layout_map = LayoutMap(device_mesh)
    for pattern, axes in (table | more).items():
        layout_map[pattern] = TensorLayout(axes, device_mesh)
    return layout_map


too_much_on_each_core = twice_the_collectives = nothing_is_split = healthy


def one_head_on_eight_cores(device_mesh):
    assert keras.__version__
    return healthy(device_mesh, **{r".+/(key|value)/kernel": WHOLE})
