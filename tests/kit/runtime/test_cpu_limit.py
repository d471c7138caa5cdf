"""A limit on CPU time ends a loop, and leaves out what does not count."""

import signal
import subprocess
import sys

LIMIT = """
import resource, time
from kit.runtime.cpu_limit import limit_cpu, not_counted

def use(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

limit_cpu(1)
{}
print("done")
"""


def run(lines: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", LIMIT.format(lines)], capture_output=True, text=True, check=False)


def test_more_cpu_time_than_the_limit_ends_the_process() -> None:
    ended = run("use(4)")
    assert ended.returncode == -signal.SIGXCPU
    assert "done" not in ended.stdout


def test_waiting_uses_no_cpu_time() -> None:
    assert run("time.sleep(2.5)").returncode == 0


def test_what_does_not_count_extends_the_limit() -> None:
    assert run("with not_counted():\n    use(2.5)").returncode == 0
    ended = run("with not_counted():\n    use(2.5)\nuse(3)")
    assert ended.returncode == -signal.SIGXCPU


def test_without_a_limit_nothing_is_limited() -> None:
    without = "_, hard = resource.getrlimit(resource.RLIMIT_CPU)\nresource.setrlimit(resource.RLIMIT_CPU, (hard, hard))"
    assert run(f"{without}\nwith not_counted():\n    use(2.5)").returncode == 0
