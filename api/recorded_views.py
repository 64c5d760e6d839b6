"""Stored events as auditors see them: the envelope, and the very bytes that are stored."""

from typing import Any

import msgspec
from msgspec import Struct

from api.times import stamp
from domain.decider import Recorded


class RecordedEvent(Struct, frozen=True, kw_only=True):
    """A stored event.

    position: place in the log; null for an entry, which is only part of its stream.
    data: the event as it is stored, byte for byte.
    """

    position: int | None
    stream: str
    version: int
    type: str
    schema_version: int
    at: str
    actor: str
    workspace_id: str
    command_id: str
    correlation_id: str
    causation_id: str
    data: msgspec.Raw


def shown(recorded: Recorded[Any]) -> RecordedEvent:
    """Return a stored event as clients see it."""
    return RecordedEvent(
        position=recorded.position,
        stream=recorded.stream,
        version=recorded.version,
        type=recorded.type,
        schema_version=recorded.schema_version,
        at=stamp(recorded.at),
        actor=recorded.actor,
        workspace_id=recorded.workspace_id,
        command_id=recorded.command_id,
        correlation_id=recorded.correlation_id,
        causation_id=recorded.causation_id,
        data=msgspec.Raw(recorded.data),
    )
