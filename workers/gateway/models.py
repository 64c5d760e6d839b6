"""Model calls: in OpenAI's or Anthropic's format, to whichever provider has the model."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from domain.errors import ArgosyError, Malformed, NotFound
from workers.gateway.answers import begun, pass_on
from workers.gateway.exchange import AgentGone, Exchange
from workers.gateway.masks import Mask
from workers.gateway.model_calls import ModelCall
from workers.gateway.paces import Paces
from workers.gateway.playground import play
from workers.gateway.providers import (
    address,
    choose,
    key_of,
    named_provider,
    request_headers,
)
from workers.gateway.session import Session
from workers.gateway.translated import pass_translated
from workers.gateway.translations.translation import translate
from workers.gateway.vendors import UNREADABLE, Format

# Of a call in all, and of a silent connection: what an answer may take is less.
SECONDS = 1800.0
IDLE_SECONDS = 620.0

# Shorter ones are no secrets but words, which any answer may hold.
SHORTEST_KEY = 8

AGENT_GONE = "The agent closed the connection before the answer was complete."

_paces = Paces()


class _Ask(Struct, frozen=True):
    """What is read of a request. The rest is the provider's business."""

    model: str | None = None
    stream: bool | None = None


async def answer_chat(session: Session, exchange: Exchange) -> None:
    """Answer OpenAI's chat completions."""
    await _answer(session, exchange, "openai")


async def answer_messages(session: Session, exchange: Exchange) -> None:
    """Answer Anthropic's messages."""
    await _answer(session, exchange, "anthropic")


async def list_models(session: Session, exchange: Exchange) -> None:
    """List the models that there are providers for, as clients of either vendor read it."""
    named = named_provider(exchange.path)
    providers = await session.documents.model_providers()
    if named and named not in providers:
        raise NotFound(f'There is no model provider "{named}".')
    owners = {
        model: choose(providers, model, named, session.settings).name
        for name, each in providers.items()
        if not named or name == named
        for model in each.models
    }
    models = [_described(model, owner) for model, owner in sorted(owners.items())]
    first, last = (models[0]["id"], models[-1]["id"]) if models else (None, None)
    rest = {"has_more": False, "first_id": first, "last_id": last}
    await exchange.respond_json(200, {"object": "list", "data": models, **rest})


def _described(model: str, owner: str) -> dict[str, Any]:
    openai = {"id": model, "object": "model", "created": 0, "owned_by": owner}
    anthropic = {"type": "model", "display_name": model, "created_at": "1970-01-01T00:00:00Z"}
    return openai | anthropic


async def _answer(session: Session, exchange: Exchange, format: Format) -> None:
    """Answer one call, and write down what became of it."""
    call = ModelCall(session)
    refused = 0
    try:
        body = await exchange.body()
        await exchange.attended(_call(session, exchange, format, body, call))
    except ArgosyError as refusal:
        call.error, refused = refusal.detail, refusal.status
        raise
    except AgentGone:
        call.error = call.failure or AGENT_GONE
        raise
    finally:
        call.write_down(exchange.status or refused)


async def _call(
    session: Session, exchange: Exchange, format: Format, body: bytes, call: ModelCall
) -> None:
    ask = _read(body)
    call.model, call.streamed = ask.model or "", bool(ask.stream)
    if not ask.model:
        raise Malformed("model is required")
    named = named_provider(exchange.path)
    providers = await session.documents.model_providers()
    chosen = call.chosen = choose(providers, ask.model, named, session.settings)
    _paces.take(session.workspace_id, chosen.name, chosen.provider.requests_per_minute)
    if chosen.model != ask.model:
        body = _with_model(body, chosen.model)
    plays = bool(chosen.provider.serves)
    url = "" if plays else address(chosen)
    key = "" if plays else await key_of(session, chosen)
    translation = None if chosen.format == format else translate(body, chosen.format, url)
    body = translation.body if translation else body
    request = (
        play(body)
        if plays
        else session.outbound.request(
            "POST",
            url,
            headers=request_headers(chosen, key, exchange.headers),
            body=body,
            seconds=SECONDS,
            idle_seconds=IDLE_SECONDS,
        )
    )
    mask = Mask(key if len(key) >= SHORTEST_KEY else "")
    async with begun(request, chosen.name, mask) as answer:
        if translation:
            await pass_translated(exchange, answer, call, translation, format)
        else:
            await pass_on(exchange, answer, call)


def _read(body: bytes) -> _Ask:
    try:
        return msgspec.json.decode(body, type=_Ask)
    except UNREADABLE as error:
        raise Malformed(f"The body is not a request for a model: {error}") from None


def _with_model(body: bytes, model: str) -> bytes:
    """Return the body for another model, all else in it as it was."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Raw])
    except UNREADABLE as error:  # in what was passed over so far
        raise Malformed(f"The body is not a request for a model: {error}") from None
    return msgspec.json.encode(fields | {"model": Raw(msgspec.json.encode(model))})
