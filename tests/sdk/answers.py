"""Resources as the API sends them."""

from typing import Any

AT = "2026-11-22T12:00:00.000000Z"
RUN_ID = "019793c2-0000-7000-8000-000000000001"
BUILD_ID = "019793c2-0000-7000-8000-000000000002"


def run(status: str = "completed", **fields: Any) -> dict[str, Any]:
    """Return a run."""
    return {
        "id": RUN_ID,
        "workspace_id": "w",
        "agent_id": "a",
        "agent_name": "echo",
        "deployment_id": "d",
        "slug": "echo",
        "revision": 1,
        "status": status,
        "reason": "",
        "detail": "",
        "message": "hello",
        "output": "hello" if status == "completed" else "",
        "exit_code": 0,
        "files": [{"path": "out.txt", "digest": "sha256:00", "size": 3}],
        "usage": {"seconds": 0.5, "cpu_seconds": 0.1, "peak_memory_mb": 12.0},
        "attempt": 1,
        "created_at": AT,
        "started_at": AT,
        "ended_at": AT,
        "version": 4,
        "a_field_of_tomorrow": True,
    } | fields


def deployment(status: str = "ready", **fields: Any) -> dict[str, Any]:
    """Return a deployment."""
    revision = {"revision": 1, "agent_version": 1, "status": status, "build_id": None, "detail": ""}
    return {
        "id": "d",
        "slug": "echo",
        "workspace_id": "w",
        "agent_id": "a",
        "agent_name": "echo",
        "status": status,
        "serving": 1 if status == "ready" else None,
        "revisions": [revision],
        "endpoint": "http://x/v1/workspaces/default/deployments/echo/runs",
        "created_at": AT,
        "updated_at": AT,
    } | fields


def deployed(**fields: Any) -> dict[str, Any]:
    """Return the answer to a deploy."""
    return {
        "deployment": deployment("pending" if fields.get("build_id") else "ready"),
        "agent_id": "a",
        "version": 1,
        "revision": 1,
        "build_id": None,
        "execution_mode": "INSTANT_RUNTIME",
        "build_required": False,
        "build_profile": "instant",
        "decision_reason": "The base meets all requirements.",
        "endpoint": "http://x/v1/workspaces/default/deployments/echo/runs",
    } | fields


def build(status: str = "succeeded", **fields: Any) -> dict[str, Any]:
    """Return a build."""
    return {
        "id": BUILD_ID,
        "workspace_id": "w",
        "agent_id": "a",
        "agent_name": "echo",
        "version": 1,
        "deployment_id": "d",
        "revision": 1,
        "status": status,
        "mode": "FAST_OVERLAY",
        "plan": None,
        "step": "",
        "detail": "",
        "hint": "",
        "attempt": 1,
        "created_at": AT,
        "ended_at": AT,
        "steps": [{"name": "resolve", "milliseconds": 3.25, "cached": True}],
    } | fields


def recorded(version: int, type: str, **data: Any) -> dict[str, Any]:
    """Return a stored event with its envelope."""
    return {
        "position": version,
        "stream": f"run-{RUN_ID}",
        "version": version,
        "type": type,
        "schema_version": 1,
        "at": AT,
        "actor": "key:k",
        "workspace_id": "w",
        "command_id": "c",
        "correlation_id": "c",
        "causation_id": "",
        "data": data,
    }
