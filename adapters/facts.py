"""Counting what happens: each fact once, by the process that appended it, after its commit."""

from prometheus_client import Counter, Histogram

from adapters.metrics import SECONDS
from domain.builds import BuildRequested
from domain.entries import ToolRequested, ToolResponded
from domain.ports import Appended
from domain.runs import RunEnded, RunRequested, RunStarted

REQUESTED = Counter("argosy_work_requested_total", "Runs and builds that were asked for.", ["work"])
RUNS_ENDED = Counter("argosy_runs_ended_total", "Runs, by how they ended.", ["how", "reason"])
STAGES = Histogram(
    "argosy_run_stage_seconds",
    "Time from a run's claim until a stage of it was done.",
    ["stage"],
    buckets=SECONDS,
)
TOOL_CALLS = Counter("argosy_tool_calls_total", "Tool calls, by their verdict.", ["decision"])
TOOL_ANSWERS = Counter(
    "argosy_tool_answers_total", "Answers to forwarded tool calls; 0xx: there was none.", ["status"]
)


def count(appended: Appended) -> None:
    """Take what an append wrote; called on the event loop."""
    for recorded in appended.recorded:
        match recorded.event:
            case RunRequested():
                REQUESTED.labels("run").inc()
            case BuildRequested():
                REQUESTED.labels("build").inc()
            case RunStarted(stages=stages):
                for stage, milliseconds in stages.items():
                    STAGES.labels(stage).observe(milliseconds / 1000)
            case RunEnded(how=how, reason=reason):
                RUNS_ENDED.labels(how, reason).inc()
            case ToolRequested(decision=decision):
                TOOL_CALLS.labels(decision).inc()
            case ToolResponded(status=status):
                TOOL_ANSWERS.labels(status_class(status)).inc()
            case _:
                pass


def status_class(status: int) -> str:
    """Return a status as a label: an upstream may answer with any number."""
    return f"{status // 100}xx" if 0 <= status < 600 else "other"
