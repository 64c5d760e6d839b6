"""What followers of a run or a build see: one JSON object per stored event, in the stream's order.

The types are those of RunTools' streamed runs: status, thinking, message, tool_call, tool_result,
file_edit, usage, log, error, complete. `complete` is the one terminal type.
Every version has exactly one object, so that a gap in versions always means "read again".
"""

from typing import Any

import msgspec

from domain import builds, entries, runs
from domain.decider import Recorded

TERMINAL = "complete"

# Clients know a run by one of these; `cancelling` is a running one that was asked to end.
WAITING, RUNNING, CANCELLING = "waiting", "running", "cancelling"


def live_view(recorded: Recorded[Any]) -> dict[str, Any]:
    """Return the object for one event; `version` is the SSE id."""
    type_, fields = _typed(recorded.event)
    return {
        "type": type_,
        "version": recorded.version,
        "at": recorded.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        **fields,
    }


def _typed(event: Any) -> tuple[str, dict[str, Any]]:
    match event:
        case entries.MessageSaid(text=text):
            return "message", {"content": text}
        case entries.ThoughtSaid(text=text):
            return "thinking", {"content": text}
        case entries.ToolCalled(call_id=call_id, tool=tool, input=given):
            return "tool_call", {"call_id": call_id, "tool": tool, "input": given}
        case entries.ToolReturned(call_id=call_id, tool=tool, output=output, failed=failed):
            fields = {"call_id": call_id, "tool": tool, "output": output, "failed": failed}
            return "tool_result", fields
        case entries.FileEdited(path=path, diff=diff):
            return "file_edit", {"path": path, "diff": diff}
        case entries.UsageReported(input_tokens=given, output_tokens=made, model=model):
            return "usage", {"input_tokens": given, "output_tokens": made, "model": model}
        case entries.LogWritten(stream=stream, line=line):
            return "log", {"stream": stream, "line": line}
        case entries.BuildLogged(step=step, stream=stream, line=line):
            return "log", {"step": step, "stream": stream, "line": line}
        case entries.ErrorReported(message=message, traceback=traceback):
            return "error", {"message": message, "traceback": traceback}
        case entries.ModelCalled() | entries.ToolRequested() | entries.ToolResponded():
            return _gateway_record(event)
        case _:
            return _run_status(event)


def _gateway_record(
    event: entries.ModelCalled | entries.ToolRequested | entries.ToolResponded,
) -> tuple[str, dict[str, Any]]:
    """Return what the gateway saw, which `by` tells from what the agent said of itself."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    del fields["type"]
    match event:
        case entries.ModelCalled():
            return "usage", {"by": "gateway", **fields}
        case entries.ToolRequested():
            return "tool_call", {"by": "gateway", **fields}
        case entries.ToolResponded():
            return "tool_result", {"by": "gateway", **fields}


def _run_status(event: Any) -> tuple[str, dict[str, Any]]:
    match event:
        case runs.RunRequested(message=message, waits_for=build_id):
            waits = {"build_id": build_id} if build_id else {}
            return "status", {"status": WAITING, "message": message, **waits}
        case runs.RunClaimed(attempt=attempt):
            return "status", {"status": WAITING, "attempt": attempt, "detail": "claimed"}
        case runs.RunStarted(attempt=attempt, stages=stages, warm=warm):
            said = {"status": RUNNING, "attempt": attempt, "stages": stages, "warm": warm}
            return "status", said
        case runs.RunAnchored(entries=count, entries_root=root):
            return "status", {"status": RUNNING, "entries": count, "entries_root": root}
        case runs.RunCancelRequested(detail=detail):
            return "status", {"status": CANCELLING, "detail": detail}
        case runs.RunRetried(attempt=attempt, detail=detail):
            return "status", {"status": WAITING, "attempt": attempt, "detail": detail}
        case runs.RunEnded():
            return TERMINAL, {
                "status": event.how,
                "reason": event.reason,
                "detail": event.detail,
                "output": event.output,
                "files": [file.path for file in event.files],
            }
        case _:
            return _build_status(event)


def _build_status(event: Any) -> tuple[str, dict[str, Any]]:
    match event:
        case builds.BuildRequested(mode=mode):
            return "status", {"status": WAITING, "mode": mode}
        case builds.BuildClaimed(attempt=attempt):
            return "status", {"status": RUNNING, "attempt": attempt}
        case builds.BuildPlanned(mode=mode, confirmed=confirmed, evidence=evidence):
            fields = {"mode": mode, "confirmed": confirmed, "evidence": evidence}
            return "status", {"status": RUNNING, **fields}
        case builds.BuildCancelRequested(detail=detail):
            return "status", {"status": CANCELLING, "detail": detail}
        case builds.BuildRetried(attempt=attempt, detail=detail):
            return "status", {"status": WAITING, "attempt": attempt, "detail": detail}
        case builds.BuildEnded(how=how, step=step, detail=detail, hint=hint):
            return TERMINAL, {"status": how, "step": step, "detail": detail, "hint": hint}
        case _:
            return "status", {}
