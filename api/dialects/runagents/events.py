"""A run's transcript in the words of RunAgents' timeline (contract §7.3)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from api.times import stamp
from domain import entries, runs
from domain.decider import Recorded


class EventView(Struct, frozen=True, kw_only=True):
    """One event, with the aliases that the different clients read. `seq` from 1, without gaps."""

    id: str
    event_id: str
    run_id: str
    seq: int
    sequence: int
    type: str
    actor: str
    data: dict[str, Any]
    timestamp: str
    created_at: str


def event_views(run_id: str, stream: Sequence[Recorded[Any]]) -> Iterator[EventView]:
    """Yield the timeline of a whole stream: one stored event may be several here, or none."""
    said = False
    seq = 0
    for recorded in stream:
        said = said or isinstance(recorded.event, entries.MessageSaid)
        for type_, actor, data in _events(recorded.event, said=said):
            seq += 1
            at = stamp(recorded.at)
            id = f"{run_id}-{seq}"
            yield EventView(
                id=id,
                event_id=id,
                run_id=run_id,
                seq=seq,
                sequence=seq,
                type=type_,
                actor=actor,
                data=data,
                timestamp=at,
                created_at=at,
            )


# Any: the events are those of a run's stream, matched here.
def _events(event: Any, *, said: bool) -> Iterable[tuple[str, str, dict[str, Any]]]:
    match event:
        case runs.RunRequested(message=message, user_id=user_id, agent_name=agent):
            yield "RUN_CREATED", "system", {"message": f"Run of {agent}", "agent": agent}
            yield "USER_MESSAGE", user_id or "user", {"content": message, "message": message}
        case runs.RunStarted(attempt=attempt):
            yield "INVOKE_REQUESTED", "system", {"attempt": attempt}
        case entries.MessageSaid(text=text):
            yield "AGENT_MESSAGE", "agent", {"content": text, "message": text}
        case entries.ToolCalled(tool=tool, input=given, call_id=call_id):
            data = {"tool": tool, "tool_id": tool, "arguments": given, "tool_call_id": call_id}
            yield "TOOL_REQUEST", "agent", data
        case entries.ToolReturned(tool=tool, output=output, failed=failed, call_id=call_id):
            data = {"tool": tool, "tool_id": tool, "result": output, "tool_call_id": call_id}
            yield "TOOL_RESPONSE", "tool", {**data, "failed": failed}
        case runs.RunEnded(how="completed", output=output):
            if output and not said:
                yield "AGENT_MESSAGE", "agent", {"content": output, "message": output}
            yield "INVOKE_COMPLETED", "system", {"status_code": 200}
            yield "COMPLETED", "system", {"message": output}
        case runs.RunEnded(how=how, reason=reason, detail=detail):
            error = detail or reason
            yield "INVOKE_FAILED", "system", {"error": error, "reason": reason}
            yield "FAILED", "system", {"message": error, "error": error, "detail": how}
        case _:
            return
