"""`argosy build`: the work that makes versions runnable, and its log."""

from typing import TYPE_CHECKING

import click

from argosy.cli.group import Noun
from argosy.cli.options import json_option, page_options, workspace_option
from argosy.cli.output import ago, compact, print_fields, print_json, print_json_line, print_table

if TYPE_CHECKING:
    from argosy.models import BuildStep


@click.group(name="build", cls=Noun)
def command() -> None:
    """Builds and their logs."""


@command.command("list")
@page_options
@workspace_option
@json_option
def show_all(limit: int, cursor: str, everything: bool, workspace: str, as_json: bool) -> None:
    """List the builds, newest first."""
    from argosy.cli.connecting import connect, read_page

    with connect(workspace) as client:
        builds = client.builds
        page = read_page(
            lambda: builds.list(limit=limit, cursor=cursor), builds.all, everything=everything
        )
    if as_json:
        print_json(page)
        return
    rows = [
        (
            each.id,
            each.status,
            f"{each.agent_name} {each.version or ''}",
            each.mode,
            ago(each.created_at),
            each.detail,
        )
        for each in page.items
    ]
    headers = ("ID", "STATUS", "AGENT", "MODE", "STARTED", "DETAIL")
    print_table(headers, rows, empty="No builds: nothing deployed so far needed one.")


@command.command("show")
@click.argument("build")
@json_option
def show(build: str, as_json: bool) -> None:
    """Show one build."""
    from argosy.cli.connecting import connect

    with connect() as client:
        found = client.builds.get(build)
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("id", found.id),
            ("status", found.status),
            ("agent", f"{found.agent_name}, version {found.version}"),
            ("mode", found.mode),
            ("plan", compact(found.plan or {})),
            ("attempt", str(found.attempt or "")),
            ("step", found.step),
            ("detail", found.detail),
            ("hint", found.hint),
            ("steps", "\n".join(_step(each) for each in found.steps)),
            ("started", ago(found.created_at)),
            ("ended", ago(found.ended_at) if found.ended_at else ""),
        ]
    )


def _step(step: "BuildStep") -> str:
    return f"{step.name:<8} {step.milliseconds:8.0f} ms{'  from a cache' * step.cached}"


@command.command("logs")
@click.argument("build")
@click.option("-f", "--follow", is_flag=True, help="Go on until the build ends.")
@click.option("--after", default=0, type=click.IntRange(0), help="Only what comes after VERSION.")
@json_option
def logs(build: str, follow: bool, after: int, as_json: bool) -> int:
    """Print a build's log. With --follow the exit code is 1 if it failed."""
    from argosy.cli.connecting import connect, lost
    from argosy.cli.narrate import Narrator

    narrator = Narrator()
    failed = False
    with connect() as client:
        builds = client.builds
        if not follow and as_json:
            print_json({"items": [each.plain() for each in builds.events(build, after=after)]})
            return 0
        events = (
            builds.follow(build, after=after, lost=lost)
            if follow
            else builds.events(build, after=after)
        )
        for event in events:
            if as_json:
                print_json_line(event.plain())
            else:
                narrator.tell(event)
            failed = failed or (event.last and event.data.get("status") != "succeeded")
    return int(follow and failed)


@command.command("cancel")
@click.argument("build")
@click.option("--detail", default="", help="Why; it is kept.")
@json_option
def cancel(build: str, detail: str, as_json: bool) -> None:
    """Ask for a build's end. What waits for it fails."""
    from argosy.cli.connecting import connect

    with connect() as client:
        found = client.builds.cancel(build, detail=detail)
    if as_json:
        print_json(found)
    else:
        print(f"{found.id} is {found.status}.")
