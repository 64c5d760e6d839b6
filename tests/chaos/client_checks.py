"""What clients were told, held against the log."""

import json
from typing import Any

import msgspec

from domain.decider import Recorded
from domain.live import live_view
from tests.chaos.evidence import Evidence, Followed, Sent
from tests.chaos.judging import Verdict

# The event that a command leads to, by its kind.
_MAKES = {
    "run": ("run.requested",),
    "deploy": ("deployment.revision_made",),
    "cancel": ("run.cancel_requested", "run.ended"),
}
# What a command may be refused with: a run that is over, a deployment that could not be built.
_TOO_MANY = 429  # come back later: the client did
_REFUSALS = {"run": {409}, "deploy": set[int](), "cancel": {409}}


def acknowledged(evidence: Evidence) -> Verdict:
    """Every command that was acknowledged is in the log once, as it was said; others at most."""
    wrong: list[str] = []
    made: dict[str, list[Recorded[Any]]] = {}
    for event in evidence.events:
        made.setdefault(event.command_id, []).append(event)
    acked = repeated = 0
    for sent in evidence.sent:
        done = [each for each in made.get(sent.key, []) if each.type in _MAKES[sent.kind]]
        answer = sent.acknowledged
        acked += answer is not None
        repeated += len(sent.answers) + sent.broken > 1
        if len(done) != 1 if answer else len(done) > 1:
            wrong.append(f"{sent.kind} {sent.key}: {len(done)} times in the log")
        elif answer and _id_of(sent, done[0]) != answer.id:
            wrong.append(f"{sent.kind} {sent.key}: answered {answer.id}, not what is in the log")
    figure = f"{acked} of {len(evidence.sent)} commands, {repeated} sent more than once"
    return Verdict(name="acknowledged commands are there once", figure=figure, wrong=wrong)


def answers(evidence: Evidence) -> Verdict:
    """One key, one answer; and no refusal that a client would not understand."""
    wrong: list[str] = []
    count = 0
    for sent in evidence.sent:
        count += len(sent.answers)
        good = {each.id for each in sent.answers if 200 <= each.status < 300}
        if len(good) > 1:
            wrong.append(f"{sent.kind} {sent.key}: answered {sorted(good)}")
        bad = {each.status for each in sent.answers if 400 <= each.status < 500} - {_TOO_MANY}
        if bad - _REFUSALS[sent.kind] - ({409} if good else set()):
            wrong.append(f"{sent.kind} {sent.key}: answered {sorted(bad)}")
        if not sent.answers:
            wrong.append(f"{sent.kind} {sent.key}: never answered")
    return Verdict(name="one key has one answer", figure=f"{count} answers", wrong=wrong)


def subscribers(evidence: Evidence) -> Verdict:
    """Every subscriber saw every version of its stream once, in order, as the log has it."""
    wrong: list[str] = []
    streams = _by_stream(evidence)
    frames = connections = 0
    for seen in evidence.followed:
        frames += len(seen.frames)
        connections += seen.connections
        if not seen.stream:
            expected = _log_of(evidence, seen.workspace_id)
            ids = [each.position or 0 for each in expected]
        else:
            expected = streams.get(seen.stream, [])
            ids = [each.version for each in expected]
            if not seen.done:
                wrong.append(f"{seen.stream}: a subscriber never saw its end")
                continue
        if [id for id, _ in seen.frames] != ids:
            wrong.append(f"{seen.stream or 'log'}: {_difference(seen, ids)}")
            continue
        for (id, data), event in zip(seen.frames, expected, strict=True):
            if data != _shown(seen, event):
                wrong.append(f"{seen.stream or 'log'} {id}: {data} is not what the log has")
    figure = f"{len(evidence.followed)} subscribers, {connections} connections, {frames} frames"
    return Verdict(name="subscribers saw all, once, in order", figure=figure, wrong=wrong)


def foreign(evidence: Evidence) -> Verdict:
    """Nobody saw anything of another's workspace."""
    wrong: list[str] = []
    owners = {each.stream: each.workspace_id for each in evidence.events if each.workspace_id}
    for seen in evidence.followed:
        if seen.stream:
            if owners.get(seen.stream, seen.workspace_id) != seen.workspace_id:
                wrong.append(f"{seen.workspace_id} followed {seen.stream}")
            continue
        for id, data in seen.frames:
            owner = owners.get(data["stream"])
            if seen.workspace_id not in (owner, data["workspace_id"]) or owner not in (
                None,
                seen.workspace_id,
            ):
                wrong.append(f"{seen.workspace_id} saw {data['type']} at {id} of {owner}")
    for peek in evidence.peeked:
        if 200 <= peek.status < 300 or 300 <= peek.status < 404:
            wrong.append(f"{peek.path} answered {peek.status}")
        wrong += [f"{peek.path} lists {id}" for id in peek.foreign]
    figure = f"{len(evidence.peeked)} attempts, {len(set(owners.values()))} workspaces"
    return Verdict(name="nothing of another workspace", figure=figure, wrong=wrong)


def _by_stream(evidence: Evidence) -> dict[str, list[Recorded[Any]]]:
    streams: dict[str, list[Recorded[Any]]] = {}
    for event in evidence.events:
        streams.setdefault(event.stream, []).append(event)
    return streams


def _log_of(evidence: Evidence, workspace_id: str) -> list[Recorded[Any]]:
    found = [
        each
        for each in evidence.events
        if each.position is not None and each.workspace_id == workspace_id
    ]
    return sorted(found, key=lambda each: each.position or 0)


def _shown(seen: Followed, event: Recorded[Any]) -> Any:
    """Return what a subscriber is shown of an event, as it reads it."""
    if seen.stream:
        return json.loads(msgspec.json.encode(live_view(event)))
    return {
        "position": event.position,
        "stream": event.stream,
        "version": event.version,
        "type": event.type,
        "schema_version": event.schema_version,
        "at": event.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "actor": event.actor,
        "workspace_id": event.workspace_id,
        "command_id": event.command_id,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "data": json.loads(event.data),
    }


def _difference(seen: Followed, expected: list[int]) -> str:
    ids = [id for id, _ in seen.frames]
    missing = sorted(set(expected) - set(ids))
    doubled = sorted({id for id in ids if ids.count(id) > 1}) if len(ids) < 5000 else []
    more = sorted(set(ids) - set(expected))
    ordered = "in order" if ids == sorted(ids) else "out of order"
    return f"missing {missing[:9]}, doubled {doubled[:9]}, unknown {more[:9]}, {ordered}"


def _id_of(sent: Sent, event: Recorded[Any]) -> str:
    if sent.kind == "deploy":
        return f"{event.event.deployment_id}@{event.event.revision}"
    return event.event.run_id
