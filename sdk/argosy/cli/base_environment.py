"""`argosy base`: the base environments of this machine, which its workers build agents over."""

from pathlib import Path

import click

from argosy.cli.checkout import hand_over
from argosy.cli.group import Noun
from argosy.cli.options import data_dir_option, json_option


@click.group(name="base", cls=Noun)
def command() -> None:
    """Base environments of this machine."""


@command.command("list")
@data_dir_option
@json_option
def show_all(data_dir: Path | None, as_json: bool) -> None:
    """List the bases, and which of them are ready."""
    hand_over("base list", ["workers", "base", "list", *(["--json"] if as_json else [])], data_dir)


@command.command("build")
@click.argument("name")
@data_dir_option
@json_option
def build(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Install a base's packages, before the first build that needs them."""
    arguments = ["workers", "base", "build", name, *(["--json"] if as_json else [])]
    hand_over("base build", arguments, data_dir)
