"""Model providers: GET and POST /api/model-providers, GET and DELETE one (contract §8)."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Meta, Struct

from api.bodies import decode
from api.calls import Call
from api.dialects.runagents.bodies import without_nulls
from api.dialects.runagents.documents import DELETED, answer, declare
from api.dialects.runagents.namespaces import open_place_of, place_of
from api.dialects.runagents.tool_bodies import ApiKeyConfig
from api.documents import Shown, delete_named, every, find
from api.tenancy import Place
from domain.catalog import ApiKeyPlace, ModelProvider, ModelVendor
from domain.documents import MODEL_PROVIDERS
from domain.errors import Malformed
from domain.model_providers import declared_provider, lacking_key

AUTH = "spec.auth"
SPEC_NAMES = {
    "endpoint": "spec.endpoint",
    "requests_per_minute": "spec.rateLimit.requestsPerMinute",
    "credential": "credentials.api_key",
}

# Where each vendor's interface takes its key. The gateway sends it there, and nowhere else.
OPENAI_PLACE = ApiKeyPlace(location="Header", name="Authorization", value_prefix="Bearer ")
PLACES: Mapping[ModelVendor, ApiKeyPlace] = {
    "openai": OPENAI_PLACE,
    "anthropic": ApiKeyPlace(location="Header", name="x-api-key", value_prefix=""),
    "bedrock": OPENAI_PLACE,
    "ollama": OPENAI_PLACE,
}


class Auth(Struct, frozen=True, kw_only=True, rename="camel"):
    """The original's other types, `AWSSignature` and `OAuth2`, are refused."""

    type: Literal["None", "APIKey"] = "APIKey"
    api_key_config: ApiKeyConfig = ApiKeyConfig()


class RateLimit(Struct, frozen=True, kw_only=True, rename="camel"):
    """0: no limit."""

    requests_per_minute: int = 0


class ProviderSpec(Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole provider, but for its key."""

    provider: ModelVendor
    models: Annotated[list[str], Meta(examples=[["gpt-4o-mini"]])]
    endpoint: str = ""
    auth: Auth = Auth()
    rate_limit: RateLimit = RateLimit()


class Key(Struct, frozen=True, kw_only=True):
    """`credentials`, as tools have them. Never shown again, nor printed."""

    api_key: str = ""

    def __repr__(self) -> str:
        return "Key()"


class ProviderBody(Struct, frozen=True, kw_only=True):
    """POST /api/model-providers."""

    spec: ProviderSpec
    name: Annotated[str, Meta(examples=["openai"])] = ""
    credentials: Key = Key()


_body = msgspec.json.Decoder(ProviderBody)


# Any: as in agents.py.
@get("/model-providers", opt={"needs": "read"})
async def list_model_providers(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> list[dict[str, Any]]:
    """List all model providers of the workspace, as a bare array."""
    place = await place_of(call, request)
    return [_shown(each, place) async for each in every(call, place, MODEL_PROVIDERS)]


@post("/model-providers", status_code=201, opt={"needs": "write"})
async def apply_model_provider(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[Any]:
    """Make a model provider, or change the one of that name: 201 either way."""
    body = decode(_body, without_nulls(await request.body()))
    if not body.name.strip():
        raise Malformed("model provider name is required", field="name")
    _check_auth(body.spec)
    place = await open_place_of(call, request)
    without_key = body.spec.auth.type == "None"
    secret = body.credentials.api_key or ("" if without_key else None)
    if secret and without_key:
        raise Malformed(f"{AUTH}.type None takes no credentials", field="credentials")
    spec_of = partial(_declared, body.spec)
    made = await declare(call, place, MODEL_PROVIDERS, body.name, spec_of, secret=secret)
    return answer(_shown(made.facts, place), made)


@get("/model-providers/{name:str}", opt={"needs": "read"})
async def show_model_provider(
    name: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> dict[str, Any]:
    """Show one model provider."""
    place = await place_of(call, request)
    return _shown(await find(call, place, MODEL_PROVIDERS, name), place)


@delete("/model-providers/{name:str}", status_code=200, opt={"needs": "write"})
async def delete_model_provider(
    name: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Mapping[str, str]:
    """Delete a model provider and its key."""
    await delete_named(call, await place_of(call, request), MODEL_PROVIDERS, name)
    return DELETED


def _check_auth(spec: ProviderSpec) -> None:
    """Refuse another place for the key than the vendor's: it would not be sent there."""
    config, place = spec.auth.api_key_config, PLACES[spec.provider]
    sent = {
        "in": (config.location, place.location),
        "name": (config.name and config.name.lower(), place.name.lower()),
        "valuePrefix": (config.value_prefix, place.value_prefix),
    }
    for name, (said, is_so) in sent.items():
        if said is not None and said != is_so:
            field = f"{AUTH}.apiKeyConfig.{name}"
            raise Malformed(
                f"{field} must be {is_so!r} for {spec.provider}, or be left out", field=field
            )


def _declared(
    spec: ProviderSpec, current: ModelProvider | None, credential: str | None
) -> ModelProvider:
    wanted = ModelProvider(
        vendor=spec.provider,
        models=spec.models,
        endpoint=spec.endpoint,
        requests_per_minute=spec.rate_limit.requests_per_minute,
    )
    return declared_provider(wanted, current, _names, credential=credential)


def _names(field: str) -> str:
    return SPEC_NAMES.get(field, f"spec.{field}")


def _shown(found: Shown[ModelProvider], place: Place) -> dict[str, Any]:
    """Return a provider in the original's shape, and with the flat fields that its CLI reads."""
    provider = found.spec
    lacks = lacking_key(provider, has_credential=found.has_credential)
    auth: dict[str, Any] = {"type": "None"}
    if found.has_credential or lacks:
        key = PLACES[provider.vendor]
        stored = {"secretRef": {"name": f"{found.name}-credentials"}}
        auth = {
            "type": "APIKey",
            "apiKeyConfig": {
                "in": key.location,
                "name": key.name,
                "valuePrefix": key.value_prefix,
                **(stored if found.has_credential else {}),
            },
        }
    return {
        "name": found.name,
        "namespace": place.slug,
        "spec": {
            "provider": provider.vendor,
            "endpoint": provider.endpoint,
            "models": provider.models,
            "auth": auth,
            "rateLimit": {"requestsPerMinute": provider.requests_per_minute},
        },
        "status": {"phase": "Pending" if lacks else "Available", "message": lacks},
        "provider": provider.vendor,
        "models": provider.models,
        "endpoint": provider.endpoint,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
    }
