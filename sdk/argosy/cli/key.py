"""`argosy key`: who may do what."""

import re

import click

from argosy.cli.group import Noun
from argosy.cli.options import json_option, page_options
from argosy.cli.output import ago, local, print_json, print_table

ROLES = ("viewer", "auditor", "deployer", "admin")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group(name="key", cls=Noun)
def command() -> None:
    """API keys."""


@command.command("create")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="deployer",
    show_default=True,
    help="viewer reads; auditor reads the log too; deployer deploys and runs; admin does all.",
)
@click.option("--workspace", default=None, metavar="SLUG", help="The only one it may see.")
@click.option("--expires", default=None, metavar="TIME", help="Such as 30d, 12h, 15m or 90s.")
@json_option
def create(name: str, role: str, workspace: str | None, expires: str | None, as_json: bool) -> None:
    """Make a key. Its secret is shown once, here."""
    from argosy.cli.connecting import connect

    with connect() as client:
        made = client.keys.create(
            name,
            role,  # pyright: ignore[reportArgumentType] - click has checked it
            workspace=workspace,
            expires_in_seconds=_seconds(expires),
        )
    if as_json:
        print_json(made)
        return
    click.echo(f"Key {made.name} ({made.role}), id {made.id}. It is shown only now:", err=True)
    print(made.key)


@command.command("list")
@page_options
@json_option
def show_all(limit: int, cursor: str, everything: bool, as_json: bool) -> None:
    """List the keys, newest first."""
    from argosy.cli.connecting import connect, read_page

    with connect() as client:
        keys = client.keys
        page = read_page(
            lambda: keys.list(limit=limit, cursor=cursor), keys.all, everything=everything
        )
    if as_json:
        print_json(page)
        return
    rows = [
        (
            each.name,
            each.role,
            each.workspace or "all",
            each.status,
            f"{each.prefix}…{each.last4}",
            ago(each.created_at),
            local(each.expires_at) or "never",
            each.id,
        )
        for each in page.items
    ]
    headers = ("NAME", "ROLE", "WORKSPACE", "STATUS", "KEY", "MADE", "EXPIRES", "ID")
    print_table(headers, rows, empty="No keys.")


@command.command("revoke")
@click.argument("key_id")
@json_option
def revoke(key_id: str, as_json: bool) -> None:
    """End a key at once, by its id."""
    from argosy.cli.connecting import connect

    with connect() as client:
        client.keys.revoke(key_id)
    if as_json:
        print_json({"revoked": key_id})
    else:
        print(f"Revoked {key_id}.")


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if not found or int(found[1]) == 0:
        raise click.BadParameter(
            f"{text!r} is not a time such as 30d, 12h, 15m or 90s.", param_hint="--expires"
        )
    return int(found[1]) * _SECONDS[found[2]]
