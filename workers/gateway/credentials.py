"""What a tool is unlocked with, added outside of the sandbox: a key, or a token for a client."""

from urllib.parse import quote

import msgspec
from msgspec import Struct

from adapters.vault import VaultLocked
from domain.catalog import ApiKeyPlace, OAuth2Client, Tool
from domain.errors import ArgosyError, NotFound
from workers.gateway.oauth import Grant, TokenRefused, fetch_token
from workers.gateway.outbound import OutboundFailed, OutboundRefused
from workers.gateway.session import Session


class CredentialUnavailable(ArgosyError):
    """A tool's credential is missing, cannot be decrypted, or buys no token. Declare it again."""

    type = "credential-unavailable"
    title = "The tool cannot be unlocked"
    status = 502


class Credential(Struct, frozen=True, kw_only=True):
    """What is added to a call, and what of it no agent may see.

    header, parameter: name and value; a parameter's value is percent-encoded.
    """

    header: tuple[str, str] | None = None
    parameter: tuple[str, str] | None = None
    secret: str = ""

    def __repr__(self) -> str:
        """Nothing of it belongs into a log."""
        return "Credential()"


async def unlock(session: Session, name: str, tool: Tool, *, stale: str = "") -> Credential:
    """Return the credential of a tool. Raises CredentialUnavailable, which names the tool.

    stale: a token that the tool refused.
    """
    match tool.auth_type:
        case "None":
            return Credential()
        case "APIKey":
            return _placed(name, tool.api_key or ApiKeyPlace(), await _secret(session, name, tool))
        case "OAuth2":
            return _bearer(await _token(session, name, tool, stale))


async def _secret(session: Session, name: str, tool: Tool) -> str:
    if not tool.credential:
        raise CredentialUnavailable(f"Tool {name} has no credential; declare it with one.")
    try:
        return await session.vault.reveal(session.workspace_id, tool.credential)
    except NotFound:
        raise CredentialUnavailable(
            f"The credential of tool {name} is not in the vault; declare the tool with it again."
        ) from None
    except VaultLocked:
        raise CredentialUnavailable(
            f"The credential of tool {name} cannot be decrypted; the operator has to give Argosy "
            "the master key that it was kept under."
        ) from None


def _placed(name: str, place: ApiKeyPlace, secret: str) -> Credential:
    value = place.value_prefix + secret
    if place.location == "Query":
        return Credential(parameter=(place.name, quote(value, safe="")), secret=secret)
    if not value.isascii() or not value.isprintable():
        raise CredentialUnavailable(
            f"The credential of tool {name} has characters that no header can hold; declare the "
            "tool with it again."
        )
    return Credential(header=(place.name.lower(), value), secret=secret)


async def _token(session: Session, name: str, tool: Tool, stale: str) -> str:
    client = tool.oauth2
    if client is None or not client.client_id:
        raise CredentialUnavailable(f"Tool {name} has no OAuth2 client; declare it with one.")

    async def fetch() -> Grant:
        return await _fetch(session, name, tool, client)

    key = msgspec.json.encode((session.workspace_id, name, tool))  # as of this revision
    return await session.tokens.token(key, fetch, stale=stale)


async def _fetch(session: Session, name: str, tool: Tool, client: OAuth2Client) -> Grant:
    secret = await _secret(session, name, tool)
    try:
        return await fetch_token(session.outbound, client, secret)
    except (TokenRefused, OutboundRefused, OutboundFailed) as failure:
        detail = failure.detail.replace(secret, "***") if secret else failure.detail
        raise CredentialUnavailable(f"There is no token for tool {name}: {detail}") from None


def _bearer(token: str) -> Credential:
    return Credential(header=("authorization", f"Bearer {token}"), secret=token)
