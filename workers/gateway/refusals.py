"""A refusal as an agent is answered: as model clients show it on their paths, plainly elsewhere."""

import msgspec

from domain.errors import ArgosyError
from workers.gateway.allowances import RETRY_SECONDS
from workers.gateway.exchange import Exchange
from workers.gateway.vendors import error_content, format_of

_MODEL_PATHS = ("/v1/", "/chat/", "/models", "/messages")


class GatewayBroke(ArgosyError):
    """A bug in Argosy. The run host's log says more."""

    type = "internal"
    status = 500
    title = "Something went wrong inside"


async def refuse(exchange: Exchange, refusal: ArgosyError) -> None:
    """Answer a refusal. What is told on an agent's tools are also the facts it carries."""
    body = msgspec.json.encode(refusal_body(exchange.path, refusal), enc_hook=str)
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    if refusal.status in {429, 503}:
        headers["retry-after"] = str(refusal.members.get("retry_after", RETRY_SECONDS))
    await exchange.start(refusal.status, headers)
    await exchange.send(body)
    await exchange.end()


def refusal_body(path: str, refusal: ArgosyError) -> object:
    """Return what is answered on a path."""
    if not is_model_path(path):
        return {**refusal.members, "error": refusal.detail, "code": refusal.type}
    return error_content(format_of(path), refusal.status, refusal.detail, refusal.type)


def is_model_path(path: str) -> bool:
    """Whether clients of models call it."""
    return path == "/v1" or path.startswith(_MODEL_PATHS)
