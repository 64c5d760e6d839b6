"""`argosy replay`: a stream's history, version by version, and the state it folds to."""

from typing import Any, cast

import click

from argosy.cli.options import json_option
from argosy.cli.output import clean, paint, print_json


@click.command(name="replay")
@click.argument("stream")
@click.option("--at", default=None, type=click.IntRange(1), help="As it stood at this VERSION.")
@json_option
def command(stream: str, at: int | None, as_json: bool) -> None:
    """Replay a stream, such as run-ID, agent-ID, build-ID or deployment-ID.

    Needs the role auditor or admin.
    """
    from argosy.cli.connecting import connect
    from argosy.cli.narrate import recorded_line

    with connect() as client:
        replay = client.replay(stream, at=at)
    if as_json:
        print_json(replay)
        return
    for event in replay.events:
        click.echo(recorded_line(event, stream=False))
    print()
    print(paint(f"State at version {replay.version}:", "bold"))
    for line in _lines(replay.state, 1):
        print(line)


def _lines(value: Any, depth: int) -> list[str]:
    """Return a value as an outline, one fact a line."""
    indent = "  " * depth
    lines: list[str] = []
    pairs = cast("dict[Any, Any]", value).items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        name = clean(str(key)).replace("\n", " ")
        if inner and isinstance(inner, dict | list):
            lines += [f"{indent}{name}:", *_lines(inner, depth + 1)]
            continue
        first, *rest = clean("-" if inner in ("", None, [], {}) else str(inner)).splitlines() or [
            ""
        ]
        lines.append(f"{indent}{name}: {first}")
        lines += [f"{indent}  {line}" for line in rest]
    return lines
