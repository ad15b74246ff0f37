"""The bioviz command: finds the verb, imports it alone, and turns errors into exit codes.

0 good, 1 the run failed or doctor found problems, 2 usage or configuration, 3 a claim missed under
`--strict`, 130 interrupted with a checkpoint written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from bioviz_core import __version__
from bioviz_core.errors import (
    AmbiguousNameError,
    BiovizError,
    ConfigError,
    StoppedError,
    UnknownNameError,
)
from bioviz_core.lab.cli import render

VERBS = {
    "list": "Show what the installed plugins provide.",
    "info": "Show the options, presets and claims of one thing.",
    "run": "Run an experiment, by name or from a config file.",
    "resume": "Go on with an interrupted run.",
    "report": "Write a run's report anew.",
    "compare": "Show what differs between runs.",
    "doctor": "Check this machine and every plugin.",
    "new-plugin": "Write a package with a working plugin and its tests.",
    "cite": "Print the BibTeX of a name or a run.",
}


class Verbs(click.Group):
    """A group that imports a verb's module when that verb is asked for, and no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order in which a user meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, from the module of its name."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(
            f"bioviz_core.lab.cli.{cmd_name.replace('-', '_')}"
        ).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest verb for a misspelt one."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, n=1)
            meant = f" Did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"no verb is called {args[0]!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """As click's, where a reader that leaves early, such as `head`, is no failure."""
        try:
            result: object = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with their help, without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.command(
    cls=Verbs,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="bioviz %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Biologically inspired vision: run experiments, read what they found."""
    del debug  # `main` takes it from anywhere on the line.


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        result = cli.main(words, prog_name="bioviz", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            import traceback

            traceback.print_exception(error)
        code = _explain(error)
    sys.exit(code)


def _explain(error: BaseException) -> int:
    """Say on stderr what went wrong; the exit code that fits it."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return 2
    if isinstance(error, click.UsageError):
        asked = error.ctx.command_path if error.ctx else "bioviz"
        render.error(error.format_message(), hint=f"See: {asked} --help")
        return 2
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        render.error("interrupted")
        return 130
    if isinstance(error, StoppedError):
        render.note(str(error))
        return 130
    if isinstance(error, click.ClickException):
        render.error(error.format_message())
        return error.exit_code
    if isinstance(error, BiovizError):
        render.error(str(error))
        is_usage = isinstance(error, ConfigError | UnknownNameError | AmbiguousNameError)
        return 2 if is_usage else 1
    where = getattr(error, "bioviz_log", None)
    trace = f"The traceback is in {where}" if where else "Show the traceback: add --debug"
    said = " ".join(f"{type(error).__name__}: {error}".split())
    render.error(f"{said.rstrip('.')}. {trace}")
    return 1
