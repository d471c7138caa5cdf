"""``kit watch``."""

import contextlib
import time
from pathlib import Path

import click


@click.command("watch")
@click.argument("exercises", nargs=-1)
@click.option("--impl", default="exercises", show_default=True, help="exercises, or a folder with the same modules.")
@click.option("--once", is_flag=True, hidden=True, help="Check once and stop.")
def command(exercises: tuple[str, ...], impl: str, once: bool) -> None:
    """Check EXERCISES, by default all, whenever you save one.

    The libraries are imported once, so that results appear about a second after you save. Checks
    run in the order of the course, up to the first that fails.
    """
    from kit.course.board import CheckRun
    from kit.course.catalogue import catalogue
    from kit.judge.runner import Runner
    from kit.parts.implementation import find_parts

    for name in exercises:
        catalogue().find(name)
    parts = find_parts(impl)
    names = exercises or catalogue().names

    def stamp(exercise: str) -> float:
        with contextlib.suppress(OSError):
            return Path(parts.file_of(exercise)).stat().st_mtime
        return 0.0

    def judge(runner: Runner, exercise: str) -> None:
        started = time.perf_counter()
        runner.forget(impl)
        check_run = CheckRun(impl, [exercise])
        # Compiling for a TPU takes ten times as long: `pytest -m tpu_compile` does that.
        every = catalogue().checks_of(exercise)
        checks = [check for check in every if check.layer != "tpu_compile"]
        # A second core runs the checks from the last one on; results are still printed in order.
        runner.begin((impl, check) for check in reversed(checks))
        for number, check in enumerate(checks, 1):
            verdict = runner.run(impl, check)
            check_run.add(verdict)
            if verdict.diagnosis is not None:
                click.echo(
                    f"{exercise}: {number - 1} of {len(checks)} passed, "
                    f"{time.perf_counter() - started:.1f} s; next: {check.asks}"
                )
                click.echo(verdict.diagnosis.as_text(exercise) + "\n")
                check_run.close()
                return
        check_run.close()
        click.secho(f"{exercise}: all {len(checks)} passed, {time.perf_counter() - started:.1f} s", fg="green")
        if slow := len(every) - len(checks):
            command = f"`pytest tests/exercises/test_{exercise}.py -m tpu_compile`"
            click.echo(f"Not checked here: {slow} of the layer tpu_compile. {command} checks them.")
        for line in check_run.closing_lines([exercise]):
            click.echo(line)
        click.echo()

    with Runner(catalogue()) as runner:
        runner.warm_up(names)
        seen = {name: stamp(name) for name in names}
        for name in names:
            judge(runner, name)
        if once:
            return
        click.echo("Save a file to check it. Stop with Ctrl-C.")
        while True:
            time.sleep(0.1)
            for name in names:
                if (now := stamp(name)) != seen[name]:
                    seen[name] = now
                    judge(runner, name)
