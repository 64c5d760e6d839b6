"""The commands that tools, policies and model providers have alike: apply and delete."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from argosy.cli.options import json_option, workspace_option
from argosy.cli.output import print_json, step

# Any: the client and its resources, which a command imports when it runs.
Collection = Callable[[Any], Any]


def add_apply(group: click.Group, noun: str, documents: Collection, *, keyed: bool) -> None:
    """Add `apply`; with options for a credential where the noun has one (`keyed`)."""

    def apply(name: str, file: str, workspace: str, as_json: bool, **given: Any) -> None:
        from argosy.cli.connecting import connect

        credential = _credential(file, **given) if keyed else None
        body = _body(name, file)
        with connect(workspace) as client:
            made = documents(client).apply(name, body, credential=credential)
        if as_json:
            print_json(made)
            return
        print(f"{made.name}: revision {made.revision}.")
        if lacks := getattr(made, "lacks", ""):
            step(lacks)

    apply.__doc__ = f"""Declare a {noun}, new or in place, as FILE says in JSON (- for stdin).

    FILE holds the fields of the HTTP API's body; what `show --json` prints will do. What it leaves
    out has its default{", but for the credential, which is kept" if keyed else ""}.
    """
    for option in reversed([*(_CREDENTIAL if keyed else []), workspace_option, json_option]):
        apply = option(apply)
    apply = click.argument("file", default="-")(apply)
    apply = click.argument("name")(apply)
    group.command("apply")(apply)


def add_delete(group: click.Group, noun: str, documents: Collection, then: str) -> None:
    """Add `delete`. then: what follows from it, as a sentence."""

    def delete(name: str, yes: bool, workspace: str, as_json: bool) -> None:
        from argosy.cli.connecting import connect

        if not yes and sys.stdin.isatty() and not as_json:
            click.confirm(f"Delete the {noun} {name}?", abort=True, err=True)
        with connect(workspace) as client:
            documents(client).delete(name)
        if as_json:
            print_json({"deleted": name})
        else:
            print(f"Deleted {name}.")

    delete.__doc__ = f"Delete a {noun}. {then}"
    delete = json_option(workspace_option(delete))
    delete = click.option("-y", "--yes", is_flag=True, help="Do not ask.")(delete)
    group.command("delete")(click.argument("name")(delete))


# A secret as an argument could be read by every user of the machine.
_CREDENTIAL = [
    click.option(
        "--credential-env",
        default="",
        metavar="VARIABLE",
        help="Take the key or secret from this environment variable.",
    ),
    click.option(
        "--credential-stdin", is_flag=True, help="Take it from stdin; FILE is then a file."
    ),
]


def _credential(file: str, credential_env: str, credential_stdin: bool) -> str | None:
    if credential_env and credential_stdin:
        raise click.UsageError("Give --credential-env or --credential-stdin, not both.")
    if credential_env:
        secret = os.environ.get(credential_env, "").strip()
        if not secret:
            raise click.BadParameter(f"{credential_env} is not set.", param_hint="--credential-env")
        return secret
    if not credential_stdin:
        return None
    if file == "-":
        raise click.UsageError("Stdin is the credential: name a FILE for the rest.")
    secret = sys.stdin.read().strip()
    if not secret:
        raise click.BadParameter("stdin is empty.", param_hint="--credential-stdin")
    return secret


def _body(name: str, file: str) -> dict[str, Any]:
    import msgspec

    try:
        sent = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        body = msgspec.json.decode(sent, type=dict[str, Any])
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror}.", param_hint="FILE") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise click.BadParameter(
            f"{file}: not a JSON object: {error}.", param_hint="FILE"
        ) from None
    if body.get("name", name) != name:
        raise click.BadParameter(
            f"{file} is of {body['name']!r}, not of {name!r}.", param_hint="FILE"
        )
    return body
