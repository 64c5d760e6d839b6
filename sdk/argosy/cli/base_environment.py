"""`argosy base`: the base environments of this machine, which its workers build agents over."""

from pathlib import Path
from typing import NoReturn

import click

from argosy.cli.checkout import hand_over, of_dev_server
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
    _hand_over(["list"], data_dir, as_json=as_json)


@command.command("build")
@click.argument("name")
@data_dir_option
@json_option
def build(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Install a base's packages, before the first build that needs them."""
    _hand_over(["build", name], data_dir, as_json=as_json)


def _hand_over(arguments: list[str], data_dir: Path | None, *, as_json: bool) -> NoReturn:
    options = [*of_dev_server(), *(["--json"] if as_json else [])]
    hand_over(f"base {arguments[0]}", ["workers", "base", *arguments, *options], data_dir)
