"""Memory of loading a preset, on the host and on each device, by the kit and by ``from_preset``.

Makes a random preset of 1.2 GB in a temporary folder, and the same model in the format of Hugging
Face's transformers. Loads them over 8 simulated devices, each way in a process of its own. On the
CPU the devices' memory is the host's. Takes three minutes on 2 cores. Usage: python
benchmarks/sharded_loading.py
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = {
    "vocabulary_size": 32768,
    "num_layers": 12,
    "num_query_heads": 8,
    "num_key_value_heads": 8,
    "hidden_dim": 1536,
    "intermediate_dim": 12288,
    "head_dim": 128,
}


def peak() -> int:
    """Peak memory of this process, in bytes."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


def make(folder: str) -> None:
    """Write the random preset: weights, and the vocabulary of the bundled preset."""
    import keras_hub

    from kit.models.presets import BUNDLED_FOLDER

    tokenizer = keras_hub.models.GemmaTokenizer.from_preset(str(BUNDLED_FOLDER))
    preprocessor = keras_hub.models.GemmaCausalLMPreprocessor(tokenizer)
    model = keras_hub.models.GemmaCausalLM(backbone=keras_hub.models.GemmaBackbone(**SIZES), preprocessor=preprocessor)
    model.save_to_preset(folder)


def make_transformers(folder: Path) -> None:
    """Write random weights in transformers' format, in two files."""
    import numpy as np
    from safetensors.numpy import save_file

    from kit.models.presets import BUNDLED_FOLDER

    hidden, middle = SIZES["hidden_dim"], SIZES["intermediate_dim"] // 2
    heads = SIZES["num_query_heads"] * SIZES["head_dim"]
    shapes = {"embed_tokens.weight": (SIZES["vocabulary_size"], hidden), "norm.weight": (hidden,)}
    for block in range(SIZES["num_layers"]):
        shapes |= {f"layers.{block}.{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
        shapes |= {f"layers.{block}.self_attn.{name}_proj.weight": (heads, hidden) for name in "qkv"}
        shapes[f"layers.{block}.self_attn.o_proj.weight"] = (hidden, heads)
        shapes |= {f"layers.{block}.mlp.{name}_proj.weight": (middle, hidden) for name in ("gate", "up")}
        shapes[f"layers.{block}.mlp.down_proj.weight"] = (hidden, middle)
    random, names, weight_map = np.random.default_rng(0), sorted(shapes), {}
    folder.mkdir()
    for number in (1, 2):
        file = f"model-0000{number}-of-00002.safetensors"
        mine = {f"model.{name}": shapes[name] for name in names[number - 1 :: 2]}
        save_file({name: random.standard_normal(shape, "float32") for name, shape in mine.items()}, folder / file)
        weight_map |= dict.fromkeys(mine, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    config = {
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        "vocab_size": SIZES["vocabulary_size"],
        "num_hidden_layers": SIZES["num_layers"],
        "num_attention_heads": SIZES["num_query_heads"],
        "num_key_value_heads": SIZES["num_key_value_heads"],
        "hidden_size": hidden,
        "intermediate_size": middle,
        "head_dim": SIZES["head_dim"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copyfile(BUNDLED_FOLDER / "assets" / "tokenizer" / "vocabulary.spm", folder / "tokenizer.model")


def load(folder: str, how: str) -> None:
    """Load it, and print a row."""
    import contextlib

    import jax

    from kit.models.sharded_loading import LoadingReport, load_slice_by_slice
    from kit.models.transformers_format import text_models
    from kit.reference.layout import gemma_layout_map
    from kit.reference.loading import load_distributed
    from kit.reference.mesh import make_device_mesh

    @contextlib.contextmanager
    def watched():
        """Load plainly, and measure the devices at each assignment."""
        from keras.src.backend.jax.core import JaxVariable

        report, assign = LoadingReport(), JaxVariable._direct_assign

        def look(variable, value):
            report.record()
            assign(variable, value)
            report.record()

        JaxVariable._direct_assign = look
        yield report
        JaxVariable._direct_assign = assign

    jax.devices()
    layout_map = gemma_layout_map(make_device_mesh(1, 8))
    baseline = peak()
    with (load_slice_by_slice if how.startswith("kit") else watched)() as report, text_models():
        model = load_distributed(folder, layout_map)
    jax.block_until_ready([variable.value for variable in model.variables])
    host = peak() - baseline
    sizes = [variable.value.nbytes for variable in model.backbone.variables]
    weights, largest = sum(sizes), max(sizes)
    devices = [report.peak_nbytes[name] / 1e6 for name in sorted(report.peak_nbytes)]
    print(
        f"| {how} | {host / 1e6:,.0f} MB | {(host - weights) / largest:+.2f} | {devices[0]:,.0f} MB | "
        f"{min(devices[1:]):,.0f} to {max(devices[1:]):,.0f} MB |",
        flush=True,
    )
    if how == "kit, transformers":
        print(
            f"\nweights {weights / 1e6:,.0f} MB, largest tensor {largest / 1e6:,.0f} MB, a device's share "
            f"{weights / 8e6:,.0f} MB"
        )


def main() -> None:
    """Make the preset and load it both ways."""
    with tempfile.TemporaryDirectory(prefix="preset-") as parent:
        folder = str(Path(parent) / "preset")
        subprocess.run([sys.executable, __file__, "make", folder], check=True)
        print(
            "| loading | host memory (excluding imports) | excess over the weights (in units of the largest tensor) | "
            "peak of device 0 | peak of the other devices |"
        )
        print("|---|---|---|---|---|", flush=True)
        for how in ("from_preset", "kit", "kit, transformers"):
            subprocess.run([sys.executable, __file__, "load", folder, how], check=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        from kit.runtime.platform import start

        start("cpu", 8, 0)
        given = Path(sys.argv[2])
        transformers = given.with_name("transformers")
        if sys.argv[1] == "make":
            make(str(given))
            make_transformers(transformers)
        else:
            load(str(transformers if "transformers" in sys.argv[3] else given), sys.argv[3])
