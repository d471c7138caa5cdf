"""Folders as a careless or hostile class hands them in, each made by a function."""

import codecs
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

from exercise_folder import reference_source

#: The exercise that is judged with the least work.
EXERCISE = "reviews"
RIGHT = reference_source(EXERCISE)
#: What a solution does when it is called, before it computes the right answer.
CALL = "def prepare_reviews("

Maker = Callable[[Path], None]


def module(folder: Path) -> Path:
    """The learner's module in a new folder."""
    folder.mkdir(parents=True)
    return folder / f"{EXERCISE}.py"


def text(content: str | bytes) -> Maker:
    """A maker of a folder with this module."""

    def make(folder: Path) -> None:
        module(folder).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def when_called(code: str) -> Maker:
    """A maker of a folder whose right solution runs this code each time that it is called."""
    return text(
        f"{RIGHT}\n\n_right = prepare_reviews\n\n\ndef prepare_reviews(*args, **kwargs):\n{code}"
        "    return _right(*args, **kwargs)\n"
    )


def when_imported(code: str) -> Maker:
    """A maker of a folder whose right solution runs this code when it is imported."""
    return text(f"{code}\n{RIGHT}")


def dangling_link(folder: Path) -> None:
    module(folder).symlink_to("/nowhere/at/all.py")


def lock_file(folder: Path) -> None:
    """What Emacs leaves beside a file that is being edited."""
    module(folder).write_text(RIGHT)
    (folder / f".#{EXERCISE}.py").symlink_to("ada@laptop.4242:1732780000")


def directory(folder: Path) -> None:
    module(folder).mkdir()


def named_pipe(folder: Path) -> None:
    os.mkfifo(module(folder))


def endless_device(folder: Path) -> None:
    module(folder).symlink_to("/dev/zero")


def pipe_beside(folder: Path) -> None:
    module(folder).write_text(RIGHT)
    os.mkfifo(folder / "helper.py")


def two_places(folder: Path) -> None:
    for name, content in (("first", RIGHT), ("second", RIGHT.replace("<br />", "<hr>"))):
        module(folder / name / "exercises").write_text(content)


def nothing(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "essay.txt").write_text("I could not do it.")


def dangling_folder(folder: Path) -> None:
    folder.symlink_to("/nowhere/ada")


GARBAGE = """    import os
    for number in range(3, 64):
        try:
            os.write(number, b"garbage\\n")
        except OSError:
            pass
"""
#: The warm parent is the parent of the process that judges.
WARM_PARENT = """    import os
    with open(f"/proc/{os.getppid()}/stat") as file:
        warm_parent = int(file.read().rpartition(")")[2].split()[1])
"""
#: A second process that the check starts finds the pipe of the first one so.
GARBAGE_OF_PARENT = f"""    import glob
{WARM_PARENT}    for path in [path for pid in (os.getppid(), warm_parent) for path in glob.glob(f"/proc/{{pid}}/fd/*")]:
        try:
            end = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.write(end, b"garbage\\n")
        except OSError:
            pass
"""
FLOOD = """    import os
    for number in range(64):
        try:
            os.set_blocking(number, True)
            while True:
                os.write(number, b"x" * 65536)
        except OSError:
            pass
"""

#: Name of the fault -> maker, the state of the exercise, its codes. A row of 4 checks or more.
FAULTS: dict[str, tuple[Maker, str, tuple[str, ...]]] = {
    "dangling link": (dangling_link, "not judged", ("COULD_NOT_BE_READ",)),
    "editor's lock file": (lock_file, "right", ()),
    "directory": (directory, "not judged", ("COULD_NOT_BE_READ",)),
    "named pipe": (named_pipe, "not judged", ("COULD_NOT_BE_READ",)),
    "named pipe beside the module": (pipe_beside, "right", ()),
    "link to an endless device": (endless_device, "not judged", ("COULD_NOT_BE_READ",)),
    "50 MB": (text(RIGHT + "#" * 50_000_000), "not judged", ("COULD_NOT_BE_READ",)),
    "NUL bytes": (text(RIGHT + "\0"), "wrong", ("EXERCISE_DOES_NOT_IMPORT",)),
    "20,000 plus signs": (text(RIGHT + f"\nX = 1{'+1' * 20_000}\n"), "wrong", ("EXERCISE_DOES_NOT_IMPORT",)),
    "500 plus signs": (when_called(f"    assert {'+'.join(['len(args)'] * 500)} >= 0\n"), "right", ()),
    "lone surrogate in an error": (
        when_called("    raise ValueError('\\udcff \\ud800')\n"),
        "wrong",
        ("EXERCISE_CRASHED", "REVIEWS_TOO_FEW_ACCEPTED"),
    ),
    "lone surrogate in the module": (
        text(b"X = '\xed\xb3\xbf'\n" + RIGHT.encode()),
        "wrong",
        ("EXERCISE_DOES_NOT_IMPORT",),
    ),
    "byte-order mark": (text(codecs.BOM_UTF8 + RIGHT.encode()), "right", ()),
    "CRLF": (text(RIGHT.replace("\n", "\r\n")), "right", ()),
    "PEP 263 cookie": (
        text(
            "# -*- coding: latin-1 -*-\n# Ren\xe9e\n".encode("latin-1")
            + RIGHT.replace("–", "-").encode("latin-1", "replace")
        ),
        "right",
        (),
    ),
    "kills the judge": (
        when_called("    import os\n    os.kill(os.getppid(), 9)\n"),
        "wrong",
        ("EXERCISE_ENDED_THE_PROCESS",),
    ),
    "stops the judge": (
        when_called("    import os\n    os.kill(os.getppid(), 19)\n"),
        "wrong",
        ("EXERCISE_ENDED_THE_PROCESS",),
    ),
    "kills the parent": (
        when_called(f"{WARM_PARENT}    os.kill(warm_parent, 9)\n"),
        "not judged",
        ("COULD_NOT_BE_JUDGED",),
    ),
    "kills the parent on import": (
        when_imported(textwrap.dedent(f"{WARM_PARENT}    os.kill(warm_parent, 9)\n")),
        "not judged",
        ("COULD_NOT_BE_JUDGED",),
    ),
    "stops the parent": (
        when_called(f"{WARM_PARENT}    os.kill(warm_parent, 19)\n"),
        "not judged",
        ("COULD_NOT_BE_JUDGED",),
    ),
    "garbage on every descriptor": (when_called(GARBAGE), "wrong", ("INTEGRITY_VIOLATION",)),
    "garbage on descriptors above": (when_called(GARBAGE_OF_PARENT), "wrong", ("INTEGRITY_VIOLATION",)),
    "flood on every descriptor": (when_called(FLOOD), "wrong", ("EXERCISE_PRINTS_TOO_MUCH",)),
    "closes every descriptor": (
        when_called("    import os\n    os.closerange(0, 64)\n"),
        "wrong",
        ("EXERCISE_ENDED_THE_PROCESS",),
    ),
    "error without a message": (
        when_called("    class Mute(Exception):\n        __str__ = None\n    raise Mute\n"),
        "wrong",
        ("EXERCISE_CRASHED", "REVIEWS_TOO_FEW_ACCEPTED"),
    ),
    "two folders": (two_places, "not judged", ("COULD_NOT_BE_JUDGED",)),
    "nothing handed in": (nothing, "nothing handed in", ()),
    "dangling link to a folder": (dangling_folder, "not judged", ("COULD_NOT_BE_READ",)),
}


def make_fault(name: str, class_folder: Path) -> None:
    """Make the folder of one learner, who has the name of the fault."""
    FAULTS[name][0](class_folder / name)


def main() -> None:
    """Make a class of one fault and two honest learners: ``careless_class.py FAULT FOLDER``."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    for honest in ("ada", "zoe"):
        text(RIGHT)(folder / honest)
    make_fault(name, folder)


if __name__ == "__main__":
    main()
