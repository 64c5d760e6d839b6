"""Click groups whose commands are imported when they are used."""

from difflib import get_close_matches
from importlib import import_module

import click

from argosy.cli.main import COMMANDS, overview

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Noun(click.Group):
    """A group that suggests what an unknown command may have meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = self.list_commands(ctx)
            near = get_close_matches(name, known, 1)
            meant = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}."
            ctx.fail(f"There is no command {name!r}; {meant}")
        return super().resolve_command(ctx, args)


class Commands(Noun):
    """The top: every command is a module with an attribute `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the overview."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None if there is no such one."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the overview, without importing the commands."""
        formatter.write(overview() + "\n")


def show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from importlib.metadata import version

        click.echo(f"argosy {version('argosy')}")
        context.exit()


top = Commands(
    "argosy",
    context_settings=CONTEXT,
    params=[
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show_version
        )
    ],
)
