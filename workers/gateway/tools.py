"""Tool calls: judged, written down, unlocked, forwarded (RunAgents contract §6.3 to §6.5, §7.2).

Nothing leaves before its judgement is stored. A denied call ends nothing: the agent sees why, and
may go on. One that needs an approval ends the run, for as long as nobody can be asked.
"""

import hashlib
from urllib.parse import unquote

from msgspec.structs import replace

from domain.catalog import Tool
from domain.entries import ToolRequested
from domain.errors import Forbidden, Invalid, NotFound
from domain.ids import new_id
from domain.policy import Call, evaluate
from domain.urls import MAX_PATH_CHARACTERS, tool_address
from workers.gateway.echo import echo
from workers.gateway.exchange import Exchange
from workers.gateway.forwarding import Record, Sent, forward, past_tool_call
from workers.gateway.session import Session

MAX_NAME_CHARACTERS = 200

# CONNECT asks for a tunnel, and TRACE for the request with the tool's credential in it.
FORBIDDEN_METHODS = frozenset({"CONNECT", "TRACE"})


async def call_tool(session: Session, exchange: Exchange, tool: str, path: str) -> None:
    """Answer a call of a tool.

    Raises Forbidden, NotFound and Invalid for what is no call, after it was written down as denied;
    BodyTooLarge and AgentGone; and what `forward` and the journal raise.
    """
    body = await exchange.body()
    path = _as_sent(exchange, tool, path)
    requested = ToolRequested(
        call_id=new_id(),
        tool=tool[:MAX_NAME_CHARACTERS],
        method=exchange.method.upper(),
        path=path[:MAX_PATH_CHARACTERS],
        payload_hash=hashlib.sha256(body).hexdigest(),
        decision="deny",
    )
    try:
        spec, call = await _find(session, tool, requested.method, path)
    except (Forbidden, NotFound, Invalid) as refusal:
        await session.journal.store([replace(requested, detail=refusal.detail)])
        past_tool_call(session, requested.tool, requested.call_id, "deny", error="deny")
        raise
    names = session.settings.policies
    found = await session.documents.policies(names)
    judgement = evaluate(call, spec, {name: found.get(name) for name in names})
    requested = replace(
        requested,
        path=call.address.path,
        decision=judgement.permission,
        rule=judgement.rule,
        detail=judgement.detail,
    )
    await session.journal.store([requested])
    if (verdict := judgement.permission) != "allow":
        past_tool_call(session, requested.tool, requested.call_id, verdict, error=verdict)
    match judgement.permission:
        case "deny":
            await _say_denied(exchange, requested)
        case "approval_required":
            await _end_for_approval(session, exchange, requested)
        case "allow":
            await _perform(
                session, exchange, Sent(call_id=requested.call_id, call=call, tool=spec, body=body)
            )


def _as_sent(exchange: Exchange, tool: str, path: str) -> str:
    """Return the path percent-encoded as it was sent: routing has seen it decoded."""
    _, _, name, *rest = [*exchange.raw_path.split("/", 3), "", "", ""][:4]
    return f"/{rest[0]}" if unquote(name) == tool else path


async def _find(session: Session, name: str, method: str, path: str) -> tuple[Tool, Call]:
    if name not in session.settings.required_tools:
        raise Forbidden(
            f"This agent was not deployed with a tool {name[:MAX_NAME_CHARACTERS]!r}: name it in "
            "the deployment's required_tools."
        )
    if method in FORBIDDEN_METHODS:
        raise Forbidden(f"No tool is called with {method}.")
    tool = await session.documents.tool(name)
    if tool is None:
        raise NotFound(f"There is no tool {name!r} in this workspace any more; declare it again.")
    return tool, Call(tool=name, method=method, address=tool_address(tool, path))


async def _say_denied(exchange: Exchange, requested: ToolRequested) -> None:
    denied = {
        "code": "POLICY_DENIED",
        "error": requested.detail,
        "tool": requested.tool,
        "rule": requested.rule,
    }
    await exchange.respond_json(403, denied)


async def _end_for_approval(session: Session, exchange: Exchange, requested: ToolRequested) -> None:
    message = f"{requested.detail} Nobody can be asked for approvals yet, so the run ends."
    session.end_run("policy_denied", message)
    asked = {
        "code": "APPROVAL_REQUIRED",
        "action_id": requested.call_id,
        "run_id": session.run_id,
        "tool": requested.tool,
        "message": message,
    }
    await exchange.respond_json(403, asked)


async def _perform(session: Session, exchange: Exchange, sent: Sent) -> None:
    record = Record(session, sent.call_id, sent.call.tool)
    if sent.tool.serves == "echo":
        content = echo(sent.call.method, sent.call.address.path, sent.body, session.user_id)
        record.status, record.bytes = 200, len(content)
        record.write()
        await exchange.respond(200, content)
    else:
        await forward(session, exchange, sent, record)
