"""`argosy events`: the log."""

from collections import deque

import click

from argosy.cli.options import json_option
from argosy.cli.output import print_json, print_json_line

NEWEST_WHEN_FOLLOWING = 10


@click.command(name="events")
@click.option("-f", "--follow", is_flag=True, help="Go on as things happen, until Ctrl-C.")
@click.option("--stream", default="", help="Only this one, such as run-ID.")
@click.option("--type", "types", multiple=True, help="Only these, such as run.ended; repeatable.")
@click.option(
    "--after",
    default=None,
    type=click.IntRange(0),
    help="All after this position; 0 for all there is. By default only the newest.",
)
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1), help="Most, if not followed."
)
@json_option
def command(
    *,
    follow: bool,
    stream: str,
    types: tuple[str, ...],
    after: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show the log: everything that happened, in one order. Needs the role auditor or admin."""
    from argosy.cli.connecting import connect, lost
    from argosy.cli.narrate import recorded_line
    from argosy.models import Recorded

    def show(event: Recorded) -> None:
        if as_json:
            print_json_line(event)
        else:
            click.echo(recorded_line(event, stream=True))

    with connect() as client:
        log = client.events
        if follow:
            start = max(0, log.head() - NEWEST_WHEN_FOLLOWING) if after is None else after
            for event in log.follow(after=start, stream=stream, types=types, lost=lost):
                show(event)
        if after is not None:
            found = list(log.read(after=after, stream=stream, types=types, most=limit))
        elif stream or types:
            found = list(deque(log.read(stream=stream, types=types), maxlen=limit))
        else:
            found = list(log.read(after=max(0, log.head() - limit), most=limit))
    if as_json:
        print_json({"items": found})
        return
    for event in found:
        show(event)
    if after is not None and len(found) == limit:
        click.echo(f"There may be more: --after {found[-1].position}", err=True)
