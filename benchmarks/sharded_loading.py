"""Memory of loading a preset, on the host and on each device, by the kit and by ``from_preset``.

Makes a random preset of 1.2 GB in a temporary folder, and loads it over 8 simulated devices, each
way in a process of its own. On the CPU the devices' memory is the host's. Takes two
minutes on 2 cores. Usage: python benchmarks/sharded_loading.py
"""

import resource
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


def load(folder: str, how: str) -> None:
    """Load it, and print a row."""
    import contextlib

    import jax

    from kit.models.sharded_loading import LoadingReport, load_slice_by_slice
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
    with (load_slice_by_slice if how == "kit" else watched)() as report:
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
    if how == "kit":
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
        for how in ("from_preset", "kit"):
            subprocess.run([sys.executable, __file__, "load", folder, how], check=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        from kit.runtime.platform import start

        start("cpu", 8, 0)
        make(sys.argv[2]) if sys.argv[1] == "make" else load(sys.argv[2], sys.argv[3])
