"""The command ``kit``."""

import importlib
import os
import sys

import click

from kit import __version__
from kit.errors import UserError

#: Command -> its module, which defines ``command``, and its line in `kit --help`.
COMMANDS = {
    "run": ("kit.cli.run", "Fine-tune a Gemma on several devices, step by step, with the evidence."),
    "export": ("kit.cli.export", "Write the tuned model of a run as a preset that loads without the kit."),
    "report": ("kit.cli.report", "Regenerate the report of a finished run: one page to read and to share."),
    "plan": ("kit.cli.plan", "Compile a training step for a TPU, without a TPU: memory and collectives."),
    "init": ("kit.cli.init", "Write the course into a folder: the exercises and their tests."),
    "lesson": ("kit.cli.lesson", "List the exercises and your progress, or show a lesson."),
    "watch": ("kit.cli.watch", "Check an exercise whenever you save it."),
    "hint": ("kit.cli.hint", "Show the next hint for an exercise."),
    "reset": ("kit.cli.reset", "Start an exercise over, and keep a copy of yours."),
    "solution": ("kit.cli.solution", "Show the solution of an exercise that you have solved."),
    "grade": ("kit.cli.grade", "Grade the exercises of a class, and count its mistakes."),
    "doctor": ("kit.cli.doctor", "Check this machine, and report what is missing."),
    "bundle": ("kit.cli.bundle", "Collect in a folder everything that a workshop without a network needs."),
    "dev": ("kit.cli.dev", "Tools for those who work on the kit itself."),
}


class LazyCommands(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kit")
def cli() -> None:
    """Learn and verify distributed fine-tuning of Gemma with Keras."""


def main() -> None:
    """Run the command line. A mistake that a user can fix gives one sentence and exit code 2."""
    if sys.platform == "win32":
        sys.exit(
            "kit: the kit runs on Linux, macOS and WSL, and this is native Windows: run it within WSL (`wsl "
            "--install`)."
        )
    try:
        cli(standalone_mode=False, prog_name="kit")
    except UserError as error:
        click.echo(f"kit: {error}", err=True)
        sys.exit(2)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("kit: stopped.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        where = f" (`{context.command_path} --help`)" if context else ""
        click.echo(f"kit: {error.format_message().rstrip('.')}{where}.", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The program that reads the output, such as `head`, has ended. Python would report that
        # again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
