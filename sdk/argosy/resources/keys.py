"""API keys: who may do what."""

from collections.abc import Iterator
from typing import Literal
from urllib.parse import quote

from argosy.models import Key, Page
from argosy.resources.paging import every
from argosy.transport import Transport

Role = Literal["viewer", "auditor", "deployer", "admin"]


class Keys:
    """`client.keys`. All of it needs the role admin."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        role: Role,
        *,
        workspace: str | None = None,
        expires_in_seconds: int | None = None,
    ) -> Key:
        """Make one. Its secret is `key` of the answer, and can never be read again."""
        body = {
            "name": name,
            "role": role,
            "workspace": workspace,
            "expires_in_seconds": expires_in_seconds,
        }
        return self._transport.post("/v1/keys", Key, body)

    def list(self, *, limit: int = 50, cursor: str = "") -> Page[Key]:
        """Return one page, newest first."""
        query = {"limit": limit, "cursor": cursor}
        return self._transport.get("/v1/keys", Page[Key], query=query)

    def all(self) -> Iterator[Key]:
        """Yield all of them, page by page."""
        return every(lambda cursor: self.list(limit=200, cursor=cursor))

    def revoke(self, key_id: str) -> None:
        """End it at once. Raises Conflict for the key that asks."""
        self._transport.delete(f"/v1/keys/{quote(key_id, safe='')}")
