"""The command ``kit``."""

import importlib
import os
import sys

import click
from click.core import ParameterSource

from kit import __version__
from kit.errors import UserError, similar_names
from kit.formatting import inert

#: The commands in groups, as `kit --help` lists them: each with its module, which defines
#: ``command``, and its line there.
GROUPS = {
    "Run": {
        "run": ("kit.cli.run", "Fine-tune a Gemma on several devices, step by step, with the evidence."),
        "report": ("kit.cli.report", "Regenerate the report of a finished run: one page to read and to share."),
        "export": ("kit.cli.export", "Write the tuned model of a run as a preset that loads without the kit."),
    },
    "Learn": {
        "init": ("kit.cli.init", "Write the course into a folder: the exercises and their tests."),
        "lesson": ("kit.cli.lesson", "List the exercises and your progress, or show a lesson."),
        "predict": ("kit.cli.predict", "Predict a figure of an exercise, then measure it."),
        "check": ("kit.cli.check", "Check an exercise, and show what to do next."),
        "watch": ("kit.cli.watch", "Check an exercise whenever you save it."),
        "hint": ("kit.cli.hint", "Show the next hint for an exercise."),
        "reset": ("kit.cli.reset", "Start an exercise over, and keep a copy of yours."),
        "solution": ("kit.cli.solution", "Show the solution of an exercise that you have solved."),
    },
    "Teach": {
        "grade": ("kit.cli.grade", "Grade the exercises of a class, and count its mistakes."),
        "bundle": ("kit.cli.bundle", "Collect in a folder everything that a workshop without a network needs."),
    },
    "Plan": {
        "plan": ("kit.cli.plan", "Compile a training step for a TPU, without a TPU: memory and collectives."),
        "lock": ("kit.cli.lock", "Keep what a layout map does to your model in a file, and check it."),
        "doctor": ("kit.cli.doctor", "Check this machine, and report what is missing."),
    },
    "Author": {
        "dev": ("kit.cli.dev", "Tools for those who work on the kit itself."),
    },
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}


class LazyCommands(click.Group):
    """A group that imports a command's module when the command is called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name those that were probably meant. Raises UserError."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise _no_command(args[0])
        return super().resolve_command(ctx, args)

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
        """Write the commands in their groups, without importing them."""
        for group, commands in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name, help_line) for name, (_, help_line) in commands.items()])


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(__version__, prog_name="kit")
@click.option("--folder", default="exercises", show_default=True, help="Without a command: whose exercises to show.")
@click.pass_context
def cli(context: click.Context, folder: str) -> None:
    """Learn and verify distributed fine-tuning of Gemma with Keras.

    Without a command, `kit` shows your exercises, their state, and the next step.
    """
    if context.invoked_subcommand and context.get_parameter_source("folder") is ParameterSource.COMMANDLINE:
        raise UserError(f"--folder is for `kit` without a command: see `kit {context.invoked_subcommand} --help`.")
    if context.invoked_subcommand is None:
        from kit.cli.board import show_board

        show_board(folder)


def _no_command(name: str) -> UserError:
    """The error for a command that does not exist."""
    from kit.course.catalogue import catalogue

    if name in catalogue().names:
        return UserError(f"There is no command {name!r}: did you mean `kit lesson {name}` or `kit check {name}`?")
    meant = " or ".join(f"`kit {close}`" for close in similar_names(name, COMMANDS))
    return UserError(
        f"There is no command {name!r}: did you mean {meant}?"
        if meant
        else f"There is no command {name!r}: `kit --help` lists all."
    )


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
        # The name of a file may have a terminal's control characters.
        click.echo(f"kit: {inert(str(error))}", err=True)
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
