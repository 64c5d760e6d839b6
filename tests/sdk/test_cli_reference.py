"""docs/reference/cli.md says what the commands are, and every command keeps the family's habits."""

from pathlib import Path

import click
from argosy.cli.group import top
from argosy.cli.main import COMMANDS
from argosy.cli.reference import page

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"


def commands() -> dict[str, click.Command]:
    """Return all commands by what is typed."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = top.get_command(click.Context(top), name)
        assert command is not None, name
        if isinstance(command, click.Group):
            found |= {f"{name} {below}": each for below, each in command.commands.items()}
        else:
            found[name] = command
    return found


def test_the_page_says_what_the_commands_are() -> None:
    """Run `python -m argosy.cli.reference > docs/reference/cli.md` after a change."""
    assert REFERENCE.read_text() == page()


def test_every_command_has_json() -> None:
    without = [
        name
        for name, command in commands().items()
        if "--json" not in [option for each in command.params for option in each.opts]
    ]

    assert without == []


def test_every_command_and_option_is_explained() -> None:
    silent = [name for name, command in commands().items() if not command.help]
    silent += [
        f"{name} {each.opts[0]}"
        for name, command in commands().items()
        for each in command.params
        if isinstance(each, click.Option) and not each.help
    ]

    assert silent == []


def test_what_a_user_does_is_there() -> None:
    asked = """deploy; invoke; run list; run show; run cancel; run events; agent list; agent show;
    deployment list; deployment show; build list; build show; build logs; build cancel;
    workspace create; workspace list; workspace use; key create; key list; key revoke;
    events; replay; dev"""

    assert {" ".join(name.split()) for name in asked.split(";")} <= set(commands())
