"""Which model provider answers for a model, and how it is called.

The rule, so that the same call goes the same way on every machine:
1. `/v1/p/<provider>/…` names the provider, which must list the model.
2. Else those that list the model: first the one that the deployment names for it
   (`llm_configs[].model_provider`), then those of the vendor that it names, then any but the
   playground, then by name.
3. Else `<provider>/<model>`, where `<provider>` is a provider's name or a vendor.
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from msgspec import Struct

from domain.catalog import ModelProvider
from domain.deployments import Settings
from domain.errors import NotFound, Unavailable
from domain.model_providers import lacking_key
from workers.gateway.exchange import HOP_BY_HOP
from workers.gateway.session import Session
from workers.gateway.vendors import Format

# Where the vendors' own interfaces are. Others have none that everybody could reach.
ENDPOINTS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com/v1"}
PATHS: Mapping[Format, str] = {"openai": "/chat/completions", "anthropic": "/messages"}
ANTHROPIC_VERSION = "2023-06-01"

_NAMED = re.compile(r"/v1/p/([^/]+)(?:/|$)")

# What an agent says of itself, or of whom it works for, is no provider's business; and which
# account pays is not the agent's choice.
_KEPT_HERE = HOP_BY_HOP | {
    "accept-encoding",
    "api-key",
    "authorization",
    "cookie",
    "expect",
    "forwarded",
    "openai-organization",
    "openai-project",
    "via",
    "x-action-id",
    "x-api-key",
    "x-end-user-id",
    "x-goog-api-key",
    "x-real-ip",
    "x-run-id",
}
_KEPT_HERE_BEGINNINGS = ("x-argosy-", "x-forwarded-", "x-tool-")

# What means something to the other vendor only.
_OTHERS: Mapping[Format, str] = {"openai": "anthropic-", "anthropic": "openai-"}


class Chosen(Struct, frozen=True):
    """A provider by its document's name, and the model as the provider calls it."""

    name: str
    provider: ModelProvider
    model: str

    @property
    def format(self) -> Format:
        """What it speaks."""
        return "anthropic" if self.provider.vendor == "anthropic" else "openai"


def named_provider(path: str) -> str:
    """Return the provider that a path names, empty if none."""
    match = _NAMED.match(path)
    return match[1] if match else ""


def choose(
    providers: Mapping[str, ModelProvider], model: str, named: str, settings: Settings
) -> Chosen:
    """Return who answers for a model; see this module's rule. Raises NotFound."""
    if named:
        if named not in providers:
            raise NotFound(f"no provider found for model {_quoted(model)}: there is no {named!r}")
        providers = {named: providers[named]}
    wishes = _wishes(settings, model)
    listing = [name for name, each in providers.items() if model in each.models]
    if listing:
        best = min(listing, key=lambda name: _rank(name, providers[name], wishes))
        return Chosen(best, providers[best], model)
    before, _, rest = model.partition("/")
    prefixed = [
        name
        for name, each in providers.items()
        if rest in each.models and before in {name, each.vendor}
    ]
    if not prefixed:
        raise NotFound(f"no provider found for model {_quoted(model)}")
    best = min(prefixed, key=lambda name: (name != before, bool(providers[name].serves), name))
    return Chosen(best, providers[best], rest)


def address(chosen: Chosen) -> str:
    """Return the URL to call. Raises Unavailable where there is none that we could speak to."""
    provider = chosen.provider
    endpoint = (provider.endpoint or ENDPOINTS.get(provider.vendor, "")).rstrip("/")
    if not endpoint:
        raise Unavailable(f'Model provider "{chosen.name}" has no endpoint; declare it with one.')
    parts = urlsplit(endpoint)
    if (parts.hostname or "").startswith("bedrock-runtime.") and "/openai" not in parts.path:
        raise Unavailable(
            f'Model provider "{chosen.name}" can be called in OpenAI\'s format only; set its '
            f"endpoint to {parts.scheme}://{parts.netloc}/openai/v1."
        )
    return endpoint + PATHS[chosen.format]


async def key_of(session: Session, chosen: Chosen) -> str:
    """Return the provider's key, empty where it may do without. Raises Unavailable."""
    provider = chosen.provider
    if not provider.credential:
        if lacking_key(provider, has_credential=False):
            raise Unavailable(f'The key of model provider "{chosen.name}" is missing; store one.')
        return ""
    try:
        return await session.vault.reveal(session.workspace_id, provider.credential)
    except NotFound:
        raise Unavailable(
            f'The key of model provider "{chosen.name}" is not in the vault; store it again.'
        ) from None


def request_headers(chosen: Chosen, key: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return what is sent to the provider: the agent's own headers, and our key for theirs."""
    left_out = (*_KEPT_HERE_BEGINNINGS, _OTHERS[chosen.format])
    headers = {
        name: value
        for name, value in given.items()
        if name not in _KEPT_HERE and not name.startswith(left_out)
    }
    headers["content-type"] = "application/json"
    headers["accept-encoding"] = "identity"  # we read along
    if chosen.format == "anthropic":
        headers.setdefault("anthropic-version", ANTHROPIC_VERSION)
    if key:
        anthropic = chosen.format == "anthropic"
        headers |= {"x-api-key": key} if anthropic else {"authorization": f"Bearer {key}"}
    return headers


def _wishes(settings: Settings, model: str) -> Sequence[tuple[str, str]]:
    """Return names and vendors of providers that a deployment names for a model."""
    return [
        (each.model_provider, each.provider) for each in settings.llm_configs if each.model == model
    ]


def _rank(
    name: str, provider: ModelProvider, wishes: Sequence[tuple[str, str]]
) -> tuple[bool, bool, bool, str]:
    return (
        name not in {wish for wish, _ in wishes},
        provider.vendor not in {vendor for _, vendor in wishes},
        bool(provider.serves),
        name,
    )


def _quoted(model: str) -> str:
    return f'"{model[:200]}"'
