"""Making, completing and updating a bundle's folder, and what can go wrong."""

import json
import resource
import shutil
from pathlib import Path

import pytest
from tiny_bundle import ELSEWHERE, HERE, TinyBundle, make, names, new_packages

from kit.bundle.folder import sha256
from kit.errors import UserError


def test_checksums_of_all_files(bundle: Path) -> None:
    lines = (bundle / "SHA256SUMS").read_text().splitlines()
    found = {line[66:]: line[:64] for line in lines}
    files = {str(path.relative_to(bundle)): sha256(path) for path in bundle.rglob("*") if path.is_file()}
    del files["SHA256SUMS"]
    assert found == files
    assert not (bundle / "UNFINISHED.txt").exists()


def test_another_target_is_added_and_old_wheels_are_deleted(bundle: Path, root: Path) -> None:
    (root / "constraints.txt").write_text("alpha==1.0\nbeta==2.0\n")
    make(bundle, ELSEWHERE, ("tpu",))
    assert names(bundle, ELSEWHERE.label) == ["alpha-1.0", "apples-1.0", "beta-2.0", "delta-1.0"]
    assert "beta-1.0" in names(bundle)
    make(bundle)
    assert "beta-2.0" in names(bundle)
    assert not list(bundle.glob("wheels/beta-1.0*"))
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert [entry["label"] for entry in manifest["targets"]] == sorted([HERE.label, ELSEWHERE.label])


def test_an_unfinished_bundle_is_marked_and_completed(
    made: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.use(monkeypatch)
    assert sorted(path.name for path in made.unfinished.iterdir()) == ["UNFINISHED.txt", "wheels"]
    copy = Path(shutil.copytree(made.unfinished, tmp_path / "copy"))
    (copy / "wheels" / ".incoming-left").mkdir()
    assert new_packages(make(copy)) == ["omega"]
    assert sorted(path.name for path in copy.rglob("*")) == sorted(path.name for path in made.finished.rglob("*"))


def test_a_disk_that_fills_up(bundle: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    try:
        with pytest.raises(UserError, match=r"fix that and run again") as caught:
            make(bundle)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert (bundle / "UNFINISHED.txt").exists()
    assert not (bundle / "SHA256SUMS").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path, root: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"the folder cannot be made \(Not a directory\)"):
        make(tmp_path / "file" / "bundle")


def test_a_folder_with_other_files(tmp_path: Path, root: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").touch()
    for name, message in (("thesis", "has other files"), ("thesis/chapter", "this is a file")):
        with pytest.raises(UserError, match=message):
            make(tmp_path / name)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter"]


def test_a_damaged_manifest(bundle: Path) -> None:
    (bundle / "bundle.json").write_text("{")
    with pytest.raises(UserError, match=r"its bundle\.json is damaged; delete the folder and run again"):
        make(bundle)


def test_too_little_disk_space(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    with pytest.raises(
        UserError, match=r"the wheels for Python .* take about .*\. 0 B are in the folder and 1\.0 MB are free"
    ):
        make(tmp_path / "bundle")
