"""Export of every family: KerasHub's own files, which compute the same without the kit."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from command_line import kit, run_python
from finished_run import LENGTH, give_random_updates, loaded_model, write_finished_run
from made_run import Listener, read
from tiny_presets import FAMILIES, WITH_VISION, write_tiny_preset

from kit.models.presets import find_preset
from kit.models.weightless import weightless_variables
from kit.parts.implementation import find_parts
from kit.run.export import ExportOptions, export
from kit.runtime.platform import Runtime

MESH = (8, 1)
TEXTS = ["It was a dull film, and I saw it twice.", "I liked the music of it, and the ending."] * 4
ENCODERS = ("vision_encoder", "audio_encoder", "image_size")
CONVERTERS = ("image_converter", "audio_converter", "video_converter")
CLASSES = {"gemma3": "Gemma3", "gemma4": "Gemma4"}
#: Presets of these take less time, and have all that others have.
QUICK = ("gemma3_vision", "gemma4_e2b_audio")
every_family = pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in FAMILIES]
)


def prefix(family: str) -> str:
    """How the names of the family's classes begin."""
    return CLASSES.get(family.partition("_")[0], "Gemma")


def logits(model: Any) -> np.ndarray:
    model.preprocessor.sequence_length = LENGTH
    return np.asarray(model.predict_on_batch(TEXTS), dtype="float32")


class Exported:
    """A tiny preset, a run that trained it, and its export."""

    def __init__(self, family: str, folder: Path, dtype: str) -> None:
        self.source = write_tiny_preset(family, folder / "source")
        model, checksum = loaded_model(str(self.source), MESH)
        give_random_updates(model)
        self.logits = logits(model)
        run = write_finished_run(folder / "a-run", str(self.source), model, checksum, MESH)
        keras.distribution.set_distribution(None)
        self.folder = folder / "preset"
        listener = Listener()
        options = ExportOptions(run, self.folder, "preset", find_preset(str(self.source)), dtype, MESH)
        export(options, Runtime("cpu", 8, "cpu"), find_parts("reference"), listener)
        self.lines = listener.lines


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """Makes each export once."""
    made: dict[tuple[str, str], Exported] = {}

    def export_once(family: str, dtype: str = "float32") -> Exported:
        if (family, dtype) not in made:
            made[family, dtype] = Exported(family, tmp_path_factory.mktemp(family), dtype)
        return made[family, dtype]

    return export_once


def text_only(content: Any) -> Any:
    """The content of a preset's file without encoders and converters."""
    if not isinstance(content, dict):
        return content
    return {
        key: text_only(value)
        for key, value in content.items()
        if key not in (*ENCODERS, "num_audio_tokens_per_clip", *CONVERTERS)
    }


def values_of(content: Any, names: tuple[str, ...]) -> list[Any]:
    """The values of these entries, at any depth."""
    if not isinstance(content, dict):
        return []
    return [found for key, value in content.items() for found in ([value] if key in names else values_of(value, names))]


@every_family
def test_the_files_are_those_of_the_preset(exported: Callable[..., Exported], family: str) -> None:
    """What ``save_to_preset`` wrote for the model that was tuned, without its encoders."""
    found = exported(family)
    files = [{path.name for path in folder.rglob("*") if path.is_file()} for folder in (found.source, found.folder)]
    assert {"task.json", "preprocessor.json", "tokenizer.json", "vocabulary.spm", "model.weights.h5"} <= files[1]
    assert files[1] == files[0] - {f"{converter}.json" for converter in CONVERTERS}
    for name in ("config.json", "task.json", "preprocessor.json", "tokenizer.json"):
        contents = [read(folder / name) for folder in (found.source, found.folder)]
        assert text_only(contents[0]) == text_only(contents[1]), name
        # A text preset has these entries too, and so has the export.
        if family in WITH_VISION:
            assert set(values_of(contents[1], (*ENCODERS, *CONVERTERS))) <= {None}, name
        else:
            assert contents[0] == contents[1], name
    assert read(found.folder / "task.json")["class_name"] == f"{prefix(family)}CausalLM"
    assert read(found.folder / "preprocessor.json")["class_name"] == f"{prefix(family)}CausalLMPreprocessor"
    vocabularies = [folder / "assets/tokenizer/vocabulary.spm" for folder in (found.source, found.folder)]
    assert vocabularies[0].read_bytes() == vocabularies[1].read_bytes()


@every_family
def test_what_it_says(exported: Callable[..., Exported], family: str) -> None:
    found = exported(family)
    preset = find_preset(str(found.source))
    said = [line for line in found.lines if line.startswith("text only: ")]
    if family in WITH_VISION:
        assert "vision encoder" in preset.left_out
        names = " and the ".join(preset.left_out)
        assert said == [f"text only: exported without the {names} of {found.source}"]
    else:
        assert not said
    assert found.lines[-1].endswith(f'keras_hub.models.{prefix(family)}CausalLM.from_preset("preset")')
    assert "the same text as at the end of the run" in found.lines


@every_family
def test_it_computes_what_the_trained_model_did(exported: Callable[..., Exported], family: str) -> None:
    found = exported(family)
    keras.distribution.set_distribution(None)
    model = keras_hub.models.CausalLM.from_preset(str(found.folder))
    largest = np.abs(found.logits).max()
    # The sum of a kernel and its update is rounded.
    np.testing.assert_allclose(logits(model), found.logits, rtol=0, atol=1e-5 * largest)


#: Runs without the kit, with TensorFlow: loads a preset, saves it again, and fine-tunes it.
IN_ANOTHER_PROCESS = """
import json, sys
sys.modules["kit"] = None
folder, again, name, length = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
import keras, keras_hub, numpy as np
model = getattr(keras_hub.models, name).from_preset(folder)
model.preprocessor.sequence_length = length
texts = TEXTS
own = name != "GemmaCausalLM"
x = {"prompts": [""] * len(texts), "responses": texts} if own else texts
np.save(again + ".npy", model.predict_on_batch(x))
model.preprocessor.sequence_length = 1024
model.save_to_preset(again)
model.preprocessor.sequence_length = length
model.backbone.enable_lora(4)
model.compile(
    optimizer=keras.optimizers.AdamW(1e-2),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    weighted_metrics=[],
)
if own:
    x = {"prompts": np.array(["It was "] * len(texts)), "responses": np.array(texts)}
history = model.fit(x, batch_size=len(texts), epochs=3, verbose=0).history["loss"]
written = model.generate("Best films ", max_length=length)
print(json.dumps({
    "model": type(model).__name__, "preprocessor": type(model.preprocessor).__name__,
    "tensorflow": "tensorflow" in sys.modules, "losses": history, "written": written,
}))
""".replace("TEXTS", repr(TEXTS))


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_loads_without_the_kit(exported: Callable[..., Exported], family: str, dtype: str, tmp_path: Path) -> None:
    """As its own class with its own preprocessor, which needs TensorFlow for Gemma 3 and 4."""
    found = exported(family, dtype)
    again = tmp_path / "again"
    finished = run_python(
        IN_ANOTHER_PROCESS, str(found.folder), str(again), f"{prefix(family)}CausalLM", str(LENGTH), cwd=tmp_path
    )
    said = json.loads(finished.stdout.splitlines()[-1])
    assert said["model"] == f"{prefix(family)}CausalLM"
    assert said["preprocessor"] == f"{prefix(family)}CausalLMPreprocessor"
    assert said["tensorflow"]
    assert said["losses"][-1] < said["losses"][0]
    assert said["written"].startswith("Best films ")
    keras.distribution.set_distribution(None)
    expected = logits(keras_hub.models.CausalLM.from_preset(str(found.folder)))
    np.testing.assert_allclose(np.load(f"{again}.npy"), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    # KerasHub's own save_to_preset, with TensorFlow, writes the same files.
    for name in ("config.json", "task.json", "preprocessor.json", "tokenizer.json"):
        if dtype == "float32" or name.startswith(("preprocessor", "tokenizer")):
            assert read(again / name) == read(found.folder / name), name


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_half_the_bytes(exported: Callable[..., Exported], family: str) -> None:
    found, whole = exported(family, "bfloat16"), exported(family)
    sizes = [(one.folder / "model.weights.h5").stat().st_size for one in (found, whole)]
    assert sizes[0] < sizes[1]
    keras.distribution.set_distribution(None)
    rounded = logits(keras_hub.models.CausalLM.from_preset(str(found.folder), dtype="float32"))
    by_token = np.abs(rounded - whole.logits).max(axis=-1) / np.abs(whole.logits).max()
    # Rounded, a router may choose another expert for a few tokens.
    largest = np.quantile(by_token, 0.9) if family == "gemma4_moe" else by_token.max()
    assert 1e-4 < largest < 0.1


RUN = shlex.split(
    "--data movie-reviews --batches 2 --batch-size 8 --sequence-length 16 --max-length 16 --evidence quick --devices 2"
)


@pytest.mark.long
@pytest.mark.parametrize("family", WITH_VISION)
def test_run_export_and_run_again(family: str, tmp_path: Path) -> None:
    """The commands, from a preset with encoders to a run of what was exported."""
    preset = write_tiny_preset(family, tmp_path / family)
    first = kit("run", "--json", "--preset", family, *RUN, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    names = " and the ".join(find_preset(str(preset)).left_out)
    assert f"text only: loaded without the {names} of {family}" in first.stderr
    result = json.loads(first.stdout)
    # What is predicted and held is the text model alone.
    text = weightless_variables(find_preset(str(preset)).config)
    assert result["parameters"]["before"]["total"] == sum(variable.size for variable in text)
    assert result["rule_coverage"]["loaded"]["bytes"] == sum(variable.nbytes for variable in text)
    made = kit("export", result["folder"], "tuned", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert f"text only: exported without the {names} of {family}" in made.stdout
    assert "the same text as at the end of the run" in made.stdout
    again = kit("run", "--json", "--preset", "tuned", *RUN, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "text only" not in again.stderr
    # It begins where the first run ended.
    assert json.loads(again.stdout)["generations"]["before"] == result["generations"]["after"]
