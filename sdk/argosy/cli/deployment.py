"""`argosy deployment`: the endpoints."""

import click

from argosy.cli.group import Noun
from argosy.cli.options import json_option, page_options, workspace_option
from argosy.cli.output import ago, clean, paint, print_fields, print_json, print_table

DIFF_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.group(name="deployment", cls=Noun)
def command() -> None:
    """Deployments and their revisions."""


@command.command("list")
@page_options
@workspace_option
@json_option
def show_all(limit: int, cursor: str, everything: bool, workspace: str, as_json: bool) -> None:
    """List the deployments, newest first."""
    from argosy.cli.connecting import connect, read_page

    with connect(workspace) as client:
        deployments = client.deployments
        page = read_page(
            lambda: deployments.list(limit=limit, cursor=cursor),
            deployments.all,
            everything=everything,
        )
    if as_json:
        print_json(page)
        return
    rows = [
        (each.slug, each.status, str(each.serving or "-"), ago(each.updated_at), each.endpoint)
        for each in page.items
    ]
    headers = ("SLUG", "STATUS", "SERVING", "CHANGED", "ENDPOINT")
    print_table(headers, rows, empty="No deployments yet: `argosy deploy FOLDER` makes one.")


@command.command("show")
@click.argument("deployment")
@workspace_option
@json_option
def show(deployment: str, workspace: str, as_json: bool) -> None:
    """Show one deployment, by slug or id, and its revisions."""
    from argosy.cli.connecting import connect

    with connect(workspace) as client:
        found = client.deployments.get(deployment)
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("slug", found.slug),
            ("id", found.id),
            ("status", found.status),
            ("serving", f"revision {found.serving}" if found.serving else "nothing yet"),
            ("agent", found.agent_name),
            ("endpoint", found.endpoint),
            ("created", ago(found.created_at)),
            ("changed", ago(found.updated_at)),
        ]
    )
    print()
    rows = [
        (
            str(each.revision),
            each.status,
            str(each.agent_version or "-"),
            each.build_id or "-",
            each.detail or _repeats(each.rolled_back_to),
        )
        for each in sorted(found.revisions, key=lambda each: -each.revision)
    ]
    headers = ("REVISION", "STATUS", "VERSION", "BUILD", "DETAIL")
    print_table(headers, rows, empty="No revisions.")


def _repeats(revision: int | None) -> str:
    return f"rolled back to {revision}" if revision else ""


@command.command("rollback")
@click.argument("deployment")
@click.option(
    "--to",
    default=None,
    type=click.IntRange(1),
    metavar="N",
    help="The revision; the one deployed before the one that serves if not given.",
)
@workspace_option
@json_option
def rollback(deployment: str, to: int | None, workspace: str, as_json: bool) -> None:
    """Serve an earlier revision again, at once: the same bytes, nothing is built.

    It is a new revision, with the version and settings of the other. Runs in flight keep theirs.
    """
    from argosy.cli.connecting import connect

    with connect(workspace) as client:
        made = client.deployments.rollback(deployment, to=to)
    if as_json:
        print_json(made)
        return
    print(
        f"{paint(clean(made.deployment.slug), 'bold')} serves revision {made.revision}: version "
        f"{made.version}, as revision {made.rolled_back_to} did."
    )


@command.command("diff")
@click.argument("deployment")
@click.argument("before", type=click.IntRange(1))
@click.argument("after", type=click.IntRange(1))
@workspace_option
@json_option
def diff(deployment: str, before: int, after: int, workspace: str, as_json: bool) -> None:
    """Show what changed from revision BEFORE to revision AFTER."""
    from argosy.cli.connecting import connect

    with connect(workspace) as client:
        found = client.deployments.diff(deployment, before, after)
    if as_json:
        print_json(found)
        return
    if not (found.files or found.requirements or found.configuration):
        print(f"Revisions {before} and {after} are the same.")
    for line in found.lines():
        print(paint(clean(line), DIFF_COLOURS.get(line[:1], "")))
