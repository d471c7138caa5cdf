"""`kit reset` puts a stub back, and never loses a file."""

from pathlib import Path

from command_line import Kit

from kit.course.catalogue import catalogue


def test_a_reset_keeps_each_version(exercises: Path, kit: Kit) -> None:
    versions = [b"first = 1\n", b"second = \xff\n", b"third = 3\n"]
    for number, content in enumerate(versions, 1):
        (exercises / "mesh.py").write_bytes(content)
        code, output, _ = kit("reset", "mesh")
        assert code == 0
        assert f"exercises/.backups/mesh-{number}.py" in output
        assert (exercises / "mesh.py").read_text() == catalogue().stub("mesh")
    kept = {path.name: path.read_bytes() for path in (exercises / ".backups").iterdir()}
    assert kept == {f"mesh-{number}.py": content for number, content in enumerate(versions, 1)}
    # A number that is free again is not used, nor is one of another exercise.
    (exercises / ".backups" / "mesh-1.py").unlink()
    (exercises / ".backups" / "mesh-12.py").write_text("")
    (exercises / ".backups" / "layout-40.py").write_text("")
    (exercises / "mesh.py").write_text("fourth = 4\n")
    kit("reset", "mesh")
    assert (exercises / ".backups" / "mesh-13.py").read_text() == "fourth = 4\n"
    # No backup is taken for an exercise.
    assert sorted(path.stem for path in exercises.glob("*.py")) == sorted(catalogue().names)


def test_a_stub_is_unchanged(exercises: Path, kit: Kit) -> None:
    assert kit("reset", "mesh") == (0, "exercises/mesh.py is already the stub: nothing to do.\n", "")
    assert not (exercises / ".backups").exists()


def test_a_missing_exercise_comes_back(exercises: Path, kit: Kit) -> None:
    (exercises / "mesh.py").unlink()
    assert kit("reset", "mesh") == (0, "exercises/mesh.py is the stub again.\n", "")
    assert (exercises / "mesh.py").read_text() == catalogue().stub("mesh")
    assert not (exercises / ".backups").exists()


def test_a_reset_that_cannot_write_a_copy_changes_nothing(exercises: Path, kit: Kit) -> None:
    (exercises / "mesh.py").write_text("mine = 1\n")
    (exercises / ".backups").write_text("a file")
    code, _, message = kit("reset", "mesh")
    assert code == 2
    assert message.startswith("kit: exercises/mesh.py is unchanged")
    assert (exercises / "mesh.py").read_text() == "mine = 1\n"
    assert sorted(path.name for path in exercises.iterdir() if path.suffix != ".py") == [".backups"]


def test_another_folder(exercises: Path, kit: Kit) -> None:
    exercises.rename(exercises.parent / "mine")
    (exercises.parent / "mine" / "mesh.py").write_text("mine = 1\n")
    assert kit("reset", "mesh", "--folder", "mine")[0] == 0
    assert (exercises.parent / "mine" / ".backups" / "mesh-1.py").read_text() == "mine = 1\n"
