"""Model providers: what may be declared, and what stays of the one that had the name before."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from msgspec.structs import replace

from domain.addresses import check_address, origin
from domain.catalog import ModelProvider, ModelVendor
from domain.errors import Invalid
from domain.tools import Names

# What the gateway itself answers; see tools.py.
PLAYGROUND_ADDRESS = "http://playground-llm.argosy.internal/v1"

MAX_MODELS = 1_000
MAX_MODEL = 200

# Where the vendors' interfaces in OpenAI's or Anthropic's format are below their hosts.
USUAL_PATHS: Mapping[ModelVendor, str] = {
    "openai": "/v1",
    "anthropic": "/v1",
    "bedrock": "/openai/v1",
    "ollama": "/v1",
}

# These answer nobody without a key; what others want cannot be known.
PUBLIC_HOSTS = frozenset({"api.openai.com", "api.anthropic.com"})

# Whose own address is that of no public service.
WITHOUT_ADDRESS = ("bedrock", "ollama")


def declared_provider(
    wanted: ModelProvider,
    current: ModelProvider | None,
    names: Names,
    *,
    credential: str | None = None,
) -> ModelProvider:
    """Return the provider to store: checked, with the key that is given or already there.

    An endpoint without any path gets the usual one. `wanted`'s own credential does not count.
    credential: reference of the one given now, None to keep what there is. Raises Invalid.
    """
    checked = _checked(wanted, names)
    if credential is None and current:
        credential = current.credential
        if credential and _goes_to(current) != _goes_to(checked):
            raise Invalid(
                "The key was given for another endpoint; send it again for this one.",
                field=names("credential"),
            )
    return replace(checked, credential=credential or "")


def lacking_key(provider: ModelProvider, *, has_credential: bool) -> str:
    """Return what the provider still needs, as a sentence; empty if nothing that can be known."""
    public = not provider.endpoint or urlsplit(provider.endpoint).hostname in PUBLIC_HOSTS
    return "Its key is missing." if public and not has_credential else ""


def _checked(provider: ModelProvider, names: Names) -> ModelProvider:
    models = provider.models
    field = names("models")
    if not models or len(models) > MAX_MODELS or len(set(models)) != len(models):
        raise Invalid(f"{field} must name 1 to {MAX_MODELS} models, each once.", field=field)
    for number, model in enumerate(models):
        if not model.strip() or len(model) > MAX_MODEL or not model.isprintable():
            place = names(f"models[{number}]")
            raise Invalid(f"{place} must have 1 to {MAX_MODEL} visible characters.", field=place)
    if provider.requests_per_minute < 0:
        field = names("requests_per_minute")
        raise Invalid(f"{field} must not be negative; 0 is no limit.", field=field)
    endpoint = _endpoint(provider, names("endpoint"))
    serves = "playground" if endpoint == PLAYGROUND_ADDRESS else ""
    return replace(provider, endpoint=endpoint, serves=serves)


def _endpoint(provider: ModelProvider, field: str) -> str:
    endpoint = provider.endpoint.rstrip("/")
    if not endpoint:
        if provider.vendor in WITHOUT_ADDRESS:
            raise Invalid(f"{field} is required for {provider.vendor}.", field=field)
        return ""
    check_address(endpoint, field=field, own=PLAYGROUND_ADDRESS)
    usual = USUAL_PATHS[provider.vendor]
    return endpoint if urlsplit(endpoint).path else f"{endpoint}{usual}"


def _goes_to(provider: ModelProvider) -> tuple[object, ...]:
    return provider.vendor, origin(provider.endpoint) if provider.endpoint else None
