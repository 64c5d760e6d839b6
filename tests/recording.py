"""Events as the store returns them, for what only reads them."""

from datetime import UTC, datetime
from typing import Any

from domain.decider import Event, Recorded
from domain.registry import SCHEMA_VERSION, encode

AT = datetime(2026, 11, 22, 23, 0, 1, tzinfo=UTC)


def record(
    event: Event, stream: str, *, version: int = 1, position: int | None = 1, data: bytes = b""
) -> Recorded[Any]:
    """Return an event as it was appended. `data`: its own bytes if they are not given."""
    return Recorded(
        stream=stream,
        version=version,
        position=position,
        workspace_id="w",
        type=event.tag(),
        schema_version=SCHEMA_VERSION,
        at=AT,
        actor="system",
        command_id="c",
        correlation_id="",
        causation_id="",
        data=data or encode(event),
        event=event,
    )
