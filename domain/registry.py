"""Every event that can be stored: its tag, its kind, and how its bytes become a struct again."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache

import msgspec

from domain import agents, builds, catalog, deployments, drafts, entries, runs, workspaces
from domain.decider import Event, Unknown
from domain.lenient import lenient_decoder

# Deciders, projections and jobs work from these; each has a position in the log.
FOLDING: tuple[type[Event], ...] = (
    workspaces.WorkspaceCreated,
    workspaces.WorkspaceArchived,
    agents.AgentCreated,
    agents.AgentVersionDrafted,
    agents.AgentVersionReady,
    agents.AgentVersionFailed,
    agents.AgentArchived,
    builds.BuildRequested,
    builds.BuildClaimed,
    builds.BuildPlanned,
    builds.BuildCancelRequested,
    builds.BuildRetried,
    builds.BuildEnded,
    deployments.DeploymentCreated,
    deployments.RevisionMade,
    deployments.RevisionReady,
    deployments.RevisionFailed,
    deployments.DeploymentArchived,
    runs.RunRequested,
    runs.RunClaimed,
    runs.RunStarted,
    runs.RunAnchored,
    runs.RunCancelRequested,
    runs.RunRetried,
    runs.RunEnded,
    catalog.DocumentApplied,
    catalog.DocumentRevised,
    catalog.DocumentArchived,
    drafts.DraftCreated,
    drafts.DraftRevised,
    drafts.DraftCompleted,
    drafts.DraftAbandoned,
    drafts.DraftArchived,
)

# These are only read as part of their stream; they have no position and take no lock.
ENTRIES: tuple[type[Event], ...] = (
    entries.MessageSaid,
    entries.ThoughtSaid,
    entries.ToolCalled,
    entries.ToolReturned,
    entries.LogWritten,
    entries.FileEdited,
    entries.ErrorReported,
    entries.UsageReported,
    entries.ModelCalled,
    entries.ToolRequested,
    entries.ToolResponded,
    entries.BuildLogged,
)

# The shape in which an event is written today. Raise it with an upcaster, never without.
SCHEMA_VERSION = 1

TYPES: dict[str, type[Event]] = {each.tag(): each for each in (*FOLDING, *ENTRIES)}
ENTRY_TYPES = frozenset(each.tag() for each in ENTRIES)
_DECODERS = {tag: msgspec.json.Decoder(each) for tag, each in TYPES.items()}
_ENCODER = msgspec.json.Encoder(order=None)


def encode(event: Event) -> bytes:
    """Return the bytes to store."""
    return _ENCODER.encode(event)


def decode(tag: str, schema_version: int, data: bytes) -> Event:
    """Return the stored event. One this code does not know comes back as `Unknown`, never lost.

    Deciders refuse to fold an `Unknown`; projections pass over it. A value that a newer version
    added to a closed set, such as a reason for a run's end, comes back as it is; but not in a
    document, where it may say what is allowed.
    """
    decoder = _DECODERS.get(tag)
    if decoder is None or schema_version > SCHEMA_VERSION:
        return Unknown(fields=msgspec.json.decode(data))
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        return _read_leniently(tag, data)


def _read_leniently(tag: str, data: bytes) -> Event:
    if not tag.startswith("document."):
        with suppress(msgspec.ValidationError):
            return _lenient(tag)(data)
    return Unknown(fields=msgspec.json.decode(data))


@cache
def _lenient(tag: str) -> Callable[[bytes], Event]:
    return lenient_decoder(TYPES[tag])
