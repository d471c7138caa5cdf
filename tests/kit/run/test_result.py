"""``run.json``: written and read as one typed record."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_run import DEVICES, edited, made_result, read

from kit.errors import UserError
from kit.run.result import RESULT_FILE, Checksums, LoadedBytes, ReplicatedVariable, RunResult, ShardingRow, read_result


def test_an_old_file_lacks_newer_fields(run: Path) -> None:
    assert read(run / RESULT_FILE).keys().isdisjoint({"filled", "marks", "mesh_devices", "processes", "working_folder"})
    result = read_result(run)
    assert result == made_result(run)
    assert (result.filled, result.checksums, result.mesh_devices, result.resumed) == (None, None, None, ())
    with edited(run / RESULT_FILE) as content:
        del content["resumed"]
    assert read_result(run) == result
    assert result.device_count == 8


def complete_result(folder: Path) -> RunResult:
    """A result with all fields."""
    result = made_result(
        folder,
        filled=False,
        working_folder="/work",
        processes=2,
        mesh_devices=DEVICES,
        peak_nbytes_per_device_while_loading=dict.fromkeys(DEVICES, 6900),
        sharding_of_token_embedding=(ShardingRow("token_embedding/embeddings", (32, 16), (("batch", "model"), None)),),
        deterministic=True,
        checksums=Checksums("a", "b"),
        resumed=(10, 30),
    )
    coverage = result.rule_coverage
    loaded, replicated = LoadedBytes(17600, 6848), (ReplicatedVariable("final_normalization/scale", 64),)
    object.__setattr__(coverage, "loaded", loaded)
    object.__setattr__(coverage, "replicated", replicated)
    return result


def test_what_is_written_is_read(tmp_path: Path) -> None:
    result = complete_result(tmp_path)
    result.write(tmp_path / RESULT_FILE)
    assert read_result(tmp_path) == result


def test_the_fields_of_the_file(tmp_path: Path) -> None:
    """Their names and their order, which users' programs rely on."""
    content = complete_result(tmp_path).as_json()
    assert " ".join(content) == (
        "preset implementation filled working_folder control settings deterministic versions started devices "
        "processes mesh layout "
        "mesh_devices rule_coverage nbytes_per_device peak_nbytes_per_device_while_loading sharding_of_decoder_block_1 "
        "sharding_of_token_embedding parameters optimizer marks training style evidence generations seconds resumed "
        "folder"
    )
    assert {name: list(value) for name, value in content.items() if isinstance(value, dict) and name != "settings"} == {
        "versions": ["python", "keras"],
        "devices": ["platform", "kind", "count"],
        "mesh": ["batch", "model"],
        "rule_coverage": ["rules", "unmatched", "unmatched_bytes", "replicated", "bytes", "bytes_per_device", "loaded"],
        "nbytes_per_device": list(DEVICES),
        "peak_nbytes_per_device_while_loading": list(DEVICES),
        "parameters": ["before", "tuned"],
        "optimizer": ["class", "decayed_variables"],
        "marks": ["batches", "weights"],
        "training": [
            "steps",
            "seconds",
            "milliseconds_per_step",
            "first_loss",
            "last_loss",
            "mean_loss",
            "mean_accuracy",
        ],
        "style": ["before", "after", "shift", "shifted", "share_without_copies"],
        "generations": ["prompt", "before", "after"],
    }
    assert content["rule_coverage"]["rules"][0] == {
        "rule": "token_embedding/embeddings",
        "spec": ["model", None],
        "variables": 1,
        "bytes": 2048,
    }
    assert content["rule_coverage"]["loaded"] == {"bytes": 17600, "bytes_per_device": 6848}
    assert content["sharding_of_token_embedding"] == [
        ["token_embedding/embeddings", [32, 16], [["batch", "model"], None]]
    ]
    assert content["style"]["after"]["log_likelihood"] == {"reviews": -3.7648, "lists": -1.3291}
    assert content["started"] == "2026-11-24T21:54:38+00:00"


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def changed(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        if to is None:
            del content[path[-1]]
        else:
            content[path[-1]] = to

    return changed


# What is wrong with run.json, and the reason in the message.
DAMAGE = {
    "no mesh": (change("mesh", to=None), 'it has no "mesh"'),
    "a mesh of nothing": (change("mesh", to={}), '"mesh" is {}'),
    "an axis of nothing": (change("mesh", "model", to=0), "\"mesh\" is {'batch': 2, 'model': 0}"),
    "a list for an object": (change("style", to=[]), "[] where an object should be"),
    "a text for a number": (change("seconds", to="long"), '"long" where a number should be'),
    "true for a number": (change("mesh", "model", to=True), "true where a whole number should be"),
    "a number for true": (change("control", to=1), "1 where true or false should be"),
    "an axis that the mesh does not have": (
        change("rule_coverage", "rules", 0, "spec", to=["modell"]),
        "a spec names modell",
    ),
    "more entries than dimensions": (
        change("sharding_of_decoder_block_1", 0, 2, to=[None, "model"]),
        "a spec of 2 entries",
    ),
    "an unknown dtype": (change("settings", "dtype", to="float8"), '"dtype" is "float8"'),
    "no date": (change("started", to="yesterday"), "Invalid isoformat string"),
    "no rank": (change("settings", "rank", to=None), 'it has no "rank"'),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_one_sentence(run: Path, damage: Callable[[dict[str, Any]], None], reason: str) -> None:
    with edited(run / RESULT_FILE) as content:
        damage(content)
    with pytest.raises(UserError) as caught:
        read_result(run)
    sentence = str(caught.value)
    assert sentence.startswith(f"{run / RESULT_FILE}: it is damaged (")
    assert reason in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
