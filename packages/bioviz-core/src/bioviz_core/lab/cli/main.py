"""The bioviz command: finds the verb, imports it alone, and turns errors into exit codes.

0 good, 1 the run failed or doctor found problems, 2 usage or configuration, 3 a claim missed under
`--strict`, 130 interrupted with a checkpoint written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from bioviz_core import __version__, errors
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


class Verb(click.Command):
    """A verb of which only the help is known until it is called: then its module is imported."""

    def make_context(self, *arguments: Any, **about: Any) -> click.Context:
        """The context of the command that the module of its name has."""
        module = str(self.name).replace("-", "_")
        command: click.Command = import_module(f"bioviz_core.lab.cli.{module}").command
        return command.make_context(*arguments, **about)


@click.group(
    commands=[Verb(name, help=text) for name, text in VERBS.items()], subcommand_metavar="VERB ..."
)
@click.version_option(__version__, message="bioviz %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Biologically inspired vision: run experiments, read what they found."""
    del debug  # `main` takes it from anywhere on the line.


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        given = [word for word in words if word != "--debug"]
        code = cli.main(given, prog_name="bioviz", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in words:
            import traceback

            traceback.print_exception(error)
        code = _explain(error)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: BaseException) -> int:
    """Say on stderr what went wrong; the exit code that fits it."""
    code, said, hint = 1, str(error), ""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return 2
    if isinstance(error, click.ClickException):
        code, said = error.exit_code, error.format_message()
        asked = getattr(error, "ctx", None)
        hint = f"See: {asked.command_path} --help" if asked else ""
    elif isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        code, said = 130, "interrupted"
    elif isinstance(error, errors.StoppedError):
        code = 130
    elif isinstance(
        error, errors.ConfigError | errors.UnknownNameError | errors.AmbiguousNameError
    ):
        code = 2
    elif not isinstance(error, errors.BiovizError):
        said = " ".join(f"{type(error).__name__}: {error}".split())
        run = "".join(getattr(error, "__notes__", ()))
        hint = f"The traceback is in log.txt of {run}" if run else "Show the traceback: add --debug"
    render.note(said if code == 130 else f"{render.verdict('error:')} {said}")
    if hint:
        render.note(hint)
    return code
