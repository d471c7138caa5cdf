"""Time, memory and compiled programs of `kit run` for a model of Gemma 3 270M's sizes on the CPU.

Writes a preset with random weights to a temporary folder, and tunes it on each mesh in a process of
its own. Its vocabulary is the bundled one with as many words as Gemma 3 has. Takes about a quarter
of an hour on 2 cores. Usage: python benchmarks/large_model.py [MESH ...]
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PRESET = "gemma3_270m"
MESHES = ("1x1", "1x8", "2x4")
OPTIONS = ["--data", "movie-reviews", "--batches", "12", "--batch-size", "4", "--sequence-length", "64"]
#: The message of JAX's own log for each program that is compiled.
COMPILED = re.compile(r"Finished XLA compilation of jit\((\w+)\) in")


def make(folder: str) -> None:
    """Write the preset."""
    import keras_hub
    from sentencepiece import sentencepiece_model_pb2

    from kit.models.architectures import ARCHITECTURES
    from kit.models.presets import BUNDLED_FOLDER
    from kit.models.weightless import build_backbone

    backbone = build_backbone(ARCHITECTURES[PRESET])
    vocabulary = sentencepiece_model_pb2.ModelProto()
    vocabulary.ParseFromString((BUNDLED_FOLDER / "assets" / "tokenizer" / "vocabulary.spm").read_bytes())
    turns = ["<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<img>"]
    words = (f"\u2581w{number}" for number in range(backbone.vocabulary_size))
    present = {piece.piece for piece in vocabulary.pieces}
    for word in [one for one in turns if one not in present] + list(words):
        if len(vocabulary.pieces) < backbone.vocabulary_size:
            vocabulary.pieces.add(piece=word, score=-1e4 - len(vocabulary.pieces))
    tokenizer = keras_hub.models.Gemma3Tokenizer(vocabulary.SerializeToString(), has_vision_tokens=False)
    preprocessor = keras_hub.models.Gemma3CausalLMPreprocessor(tokenizer)
    keras_hub.models.Gemma3CausalLM(backbone=backbone, preprocessor=preprocessor).save_to_preset(folder)


def run(preset: Path, mesh: str, runs: Path) -> str:
    """Tune the preset, and return a row of the table."""
    command = [sys.executable, "-c", "from kit.cli.main import main; main()", "run", "--preset", str(preset)]
    batch, model = map(int, mesh.split("x"))
    command += [*OPTIONS, "--mesh", mesh, "--devices", str(batch * model), "--runs", str(runs), "--json"]
    started = time.perf_counter()
    with (runs / f"{mesh}.log").open("w+") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env={**os.environ, "JAX_LOG_COMPILES": "1"}
        )
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        log.seek(0)
        names = COMPILED.findall(log.read())
    if status:
        sys.exit(f"kit run on {mesh} failed: see {log.name}")
    result = json.loads(output)
    # Linux counts in kilobytes, macOS in bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return (
        f"| {mesh} | {result['evidence']} | {time.perf_counter() - started:.0f} s | "
        f"{usage.ru_utime + usage.ru_stime:.0f} s | {result['training']['milliseconds_per_step'] / 1000:.1f} s | "
        f"{peak / 1e9:.1f} GB | {names.count('compiled_generate_function')} | {names.count('predict_step')} |"
    )


def main() -> None:
    """Make the preset, and print a table."""
    with tempfile.TemporaryDirectory(prefix="large-model-") as folder:
        preset = Path(folder) / PRESET
        subprocess.run([sys.executable, __file__, "--make", str(preset)], check=True)
        print("| mesh | evidence | time | CPU time | a step | peak memory | generation programs | scoring programs |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for mesh in sys.argv[1:] or MESHES:
            print(run(preset, mesh, Path(folder)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        from kit.runtime.platform import start

        start("cpu", 1, 0)
        make(sys.argv[2])
    else:
        main()
