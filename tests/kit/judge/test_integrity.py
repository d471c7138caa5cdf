"""A solution that interferes with its check gets no verdict that it has not earned.

Each attack returns None, for which an honest solution gets WRONG_RETURN_TYPE, and tries to have the
check pass.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import kit
from exercise_folder import write_exercises

from kit.course.catalogue import catalogue
from kit.judge.runner import Runner

#: What the judging process writes for a check that passes.
PASSED = json.dumps({"diagnosis": None, "measured": {}, "seconds": 0.1}) + "\n"

#: Name -> the attack, as the body of make_device_mesh.
ATTACKS = {
    "every descriptor is written to": f"""
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, {PASSED!r}.encode())
        except OSError:
            pass
""",
    "a descriptor is found in a frame": f"""
    frame = sys._getframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if type(value) is int and 2 < value < 256:
                try:
                    os.write(value, {PASSED!r}.encode())
                except OSError:
                    pass
        frame = frame.f_back
""",
    "the descriptors of the parent are opened": f"""
    for process in (os.getppid(), os.getpid()):
        for link in glob.glob(f"/proc/{{process}}/fd/*"):
            try:
                if "pipe" in os.readlink(link):
                    os.write(os.open(link, os.O_WRONLY | os.O_NONBLOCK), {PASSED!r}.encode())
            except OSError:
                pass
""",
    "the judge is replaced by a builtin": """
    for name, module in list(sys.modules.items()):
        if name.startswith("kit.course.mesh"):
            for key in [key for key in vars(module) if key.startswith(("judge", "_judge"))]:
                setattr(module, key, dict)
    sys.modules["kit.judge.check_process"].judge = lambda *arguments: {"diagnosis": None}
""",
    "the judge is replaced by code without a file": """
    module = sys.modules["kit.judge.check_process"]
    exec("def judge(*arguments): return {'diagnosis': None, 'measured': {}}", vars(module))
""",
    "the guard is emptied": """
    guards = sys.modules["kit.judge.guards"]
    guards._before.clear()
    guards.expect_libraries_unchanged = print
    sys.modules["kit.judge.submission"].Submission.expect_type = lambda *arguments: None
""",
    "a verdict says passed": """
    Failed = sys.modules["kit.checks.diagnosis"].Failed
    failed = Failed("NOT_AS_EXPECTED", "nothing")
    failed.diagnosis = None
    raise failed
""",
    "the submission observes nothing": """
    module = sys.modules["kit.judge.submission"]
    exec("def observe(self, *arguments, **options): return Returned(None)", vars(module))
    module.Submission.observe = vars(module)["observe"]
""",
    "a message says passed": """
    channel = sys.modules["kit.judge.channel"]
    sys.modules["kit.judge.check_process"].encode = lambda value: channel.encode((None, None, ""))
""",
    "a message is of a thousand lists": """
    sys.modules["kit.judge.check_process"].encode = lambda value: b"[" * 100_000
""",
    "a message makes an object": """
    sys.modules["kit.judge.check_process"].encode = lambda value: (
        b'{"tuple": [{"class": "kit.judge.runner:Runner", "fields": {}}, null, ""]}'
    )
""",
    "the reference is imported": """
    from kit.reference.mesh import make_device_mesh as solution
    return solution(batch, model, devices)
""",
    "the oracle is imported": """
    import kit.course.shared.meshes
    return kit.course.shared.meshes.mesh_with_batch_axis()
""",
}
#: The attacks whose diagnostic is about them; the others are diagnosed as what they return.
VIOLATIONS = {
    "the submission observes nothing",
    "a verdict says passed",
    "a message says passed",
    "a message is of a thousand lists",
    "a message makes an object",
    "the reference is imported",
    "the oracle is imported",
}
ATTACK = '''"""An attack."""

import glob
import os
import sys


def make_device_mesh(batch, model, devices=None):
{attack}
    return None
'''


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner(catalogue()) as started:
        yield started


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_does_not_pass(runner: Runner, tmp_path: Path, name: str) -> None:
    (tmp_path / "mesh.py").write_text(ATTACK.format(attack=ATTACKS[name]), encoding="utf-8")
    verdicts = [runner.run(str(tmp_path), catalogue().find_check("mesh", check)) for check in ("shape", "devices")]
    codes = [verdict.diagnosis.code if verdict.diagnosis else "PASSED" for verdict in verdicts]
    if name in VIOLATIONS:
        assert codes == ["INTEGRITY_VIOLATION"] * 2
    else:
        # What the function returns, or what the guards see first.
        assert set(codes) <= {
            "WRONG_RETURN_TYPE",
            "EXERCISE_CRASHED",
            "EXERCISE_PATCHES_A_LIBRARY",
            "INTEGRITY_VIOLATION",
        }


def test_an_honest_solution_passes_beside_them(runner: Runner, tmp_path: Path) -> None:
    folder = write_exercises(tmp_path / "mine", mesh="right_numpy_grid")
    assert all(runner.run(str(folder), check).passed for check in catalogue().checks_of("mesh"))


ANCESTORS = """
    process, answer = os.getppid(), ANSWER
    while process > 1:
        for link in glob.glob(f"/proc/{process}/fd/*"):
            try:
                if "pipe" in os.readlink(link):
                    descriptor = os.open(link, os.O_WRONLY | os.O_NONBLOCK)
                    for number in range(64):
                        os.write(descriptor, answer.replace("NUMBER", str(number)).encode())
            except OSError:
                pass
        with open(f"/proc/{process}/stat") as file:
            process = int(file.read().rpartition(")")[2].split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
def test_no_answer_is_written_for_kit_grade(tmp_path: Path) -> None:
    """An answer for `kit grade`, in each pipe of each process above that of a solution."""
    answer = (
        '\n{"id": NUMBER, "output": "", "wall_seconds": 0, "limit": 1, "cpu_seconds": 0, ' + PASSED.strip()[1:] + "\n"
    )
    (tmp_path / "mallory").mkdir()
    attack = ATTACK.format(attack=ANCESTORS.replace("ANSWER", repr(answer)))
    (tmp_path / "mallory" / "mesh.py").write_text(attack, encoding="utf-8")
    write_exercises(tmp_path / "ada", mesh="right_numpy_grid")
    # With pipes, and not those of the tests' own process.
    finished = kit("grade", ".", "--exercises", "mesh", "--csv", "class.csv", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    rows = (tmp_path / "class.csv").read_text(encoding="utf-8").splitlines()
    assert "ada,mesh,right,4,4," in rows
    assert [row for row in rows if row.startswith("mallory")] == ["mallory,mesh,wrong,1,4,WRONG_RETURN_TYPE"]
