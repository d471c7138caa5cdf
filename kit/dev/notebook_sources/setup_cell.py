"""The first code cell of each notebook, without this docstring.

It makes an environment for the kit, and has what other cells use. It runs in the notebook's own
Python, which has no kit, and never imports jax: a TPU belongs to one process.
"""

# Run this cell first, and again after each restart. If it is the first time, it takes minutes.
# Restart the session if a cell has imported jax or tensorflow: a TPU belongs to one process, which
# must be the kit's.
import glob
import html
import os
import subprocess
import sys
import time
from pathlib import Path

from IPython.display import HTML, display

REPOSITORY = "@REPOSITORY@"
#: A wheel of the kit, or a folder with its repository; empty means a clone of the repository.
SOURCE = os.environ.get("KIT_SOURCE", "")
ENVIRONMENT = Path.home() / "kit-env"
#: The notebook was started here; the course is in a folder below.
START = globals().get("START", Path.cwd())


def refuse_jax() -> None:
    """Raise an error if this Python has imported what may use the TPU."""
    if found := [name for name in ("jax", "tensorflow", "torch_xla") if name in sys.modules]:
        raise RuntimeError(f"This notebook has imported {found[0]}: restart the session, and run this cell again.")


def run_with_line(title: str, command: list[str]) -> None:
    """Run a command, and show its last line with the seconds so far: one line that is replaced."""
    started, lines = time.time(), []
    shown = display(HTML(f"<pre>{title} …</pre>"), display_id=True)
    nothing, pipe, together = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT
    process = subprocess.Popen(command, stdin=nothing, stdout=pipe, stderr=together, text=True)
    for line in process.stdout or ():
        lines.append(line.rstrip())
        seconds = f"{time.time() - started:.0f} s"
        shown.update(HTML(f"<pre>{title}, {seconds}: {html.escape(lines[-1][:80])}</pre>"))
    shown.update(HTML(f"<pre>{title}: {time.time() - started:.0f} s</pre>"))
    if process.wait():
        raise RuntimeError("\n".join([f"{title}: this failed with exit code {process.returncode}.", *lines[-20:]]))


def install() -> None:
    """Make the environment, with the packages for a TPU or a GPU, unless it has the kit."""
    if (ENVIRONMENT / "bin" / "kit").exists():
        return
    source, constraints = SOURCE, []
    if not source:
        source = str(ENVIRONMENT / "source")
        if not Path(source).exists():
            run_with_line("cloning the repository", ["git", "clone", "--depth", "1", REPOSITORY, source])
    if Path(source, "constraints.txt").exists():
        constraints = ["-c", str(Path(source, "constraints.txt"))]
    extra = "[gpu]" if glob.glob("/dev/nvidia[0-9]*") else ""
    if glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*"):
        extra = "[tpu]"
    run_with_line("making an environment", [sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)])
    pip = [sys.executable, "-m", "pip", "--python", str(ENVIRONMENT), "install", "--progress-bar", "off"]
    run_with_line("installing the kit", [*pip, *constraints, source + extra])


def show(file: str, height: int = 500) -> None:
    """Show a page of the kit in a frame of its own."""
    if not Path(file).is_file():
        print(f"{file} is not there yet: the command above did not get that far.")
        return
    page = html.escape(Path(file).read_text(encoding="utf-8"))
    style = f"width: 100%; height: {height}px; border: 1px solid #8a9099"
    # The div keeps IPython from advice about frames of other addresses.
    display(HTML(f'<div><iframe srcdoc="{page}" sandbox style="{style}"></iframe></div>'))


def show_section(section: str, height: int = 500, runs: str = "runs") -> None:
    """Show a section of the report of the latest run: loss, sharding, bytes, rules or style."""
    finished = sorted(Path(runs).glob("*/run.json"))
    if not finished:
        print(f"There is no finished run in {runs} yet.")
        return
    command = ["kit", "report", str(finished[-1].parent), "--section", section]
    show(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), height)


def show_report(runs: str = "runs", height: int = 800) -> None:
    """Show the whole report of the latest run."""
    reports = sorted(Path(runs).glob("*/report.html"))
    show(str(reports[-1]) if reports else f"{runs}/…/report.html", height)


refuse_jax()
install()
if str(ENVIRONMENT / "bin") not in os.environ["PATH"].split(os.pathsep):
    # So that `!kit`, `!python` and `!pytest` are those of the environment.
    os.environ["PATH"] = str(ENVIRONMENT / "bin") + os.pathsep + os.environ["PATH"]
for name in ("PYTHONPATH", "MPLBACKEND"):
    # They are of this notebook's Python, and its packages would take the place of the kit's.
    os.environ.pop(name, None)
os.chdir(START)
