"""Documents: tools, policies and model providers, each declared whole and by name."""

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from argosy.models import Page
from argosy.resources.paging import every
from argosy.transport import Transport

T = TypeVar("T")

# What an answer says beyond what was declared: `apply` passes over it, so that a document that was
# shown can be changed and sent back.
READ_ONLY = frozenset(
    {
        "id",
        "name",
        "workspace_id",
        "revision",
        "address",
        "has_credential",
        "lacks",
        "used_by",
        "created_at",
        "updated_at",
    }
)


class Documents(Generic[T]):
    """`client.tools`, `client.policies` and `client.model_providers`."""

    def __init__(
        self, transport: Transport, workspace: str, noun: str, kind: type[T], page: type[Page[T]]
    ) -> None:
        self._transport = transport
        self._path = f"/v1/workspaces/{quote(workspace)}/{noun}"
        self._kind = kind
        self._page = page

    def list(self, *, limit: int = 50, cursor: str = "") -> Page[T]:
        """Return one page, newest first."""
        query = {"limit": limit, "cursor": cursor}
        return self._transport.get(self._path, self._page, query=query)

    def all(self) -> Iterator[T]:
        """Yield all of them, newest first, page by page."""
        return every(lambda cursor: self.list(limit=200, cursor=cursor))

    def get(self, name: str) -> T:
        """Return one by its name."""
        return self._transport.get(f"{self._path}/{quote(name, safe='')}", self._kind)

    def apply(self, name: str, body: Mapping[str, Any], *, credential: str | None = None) -> T:
        """Declare it: new, or in place. The same again changes nothing.

        credential: a key or secret, None to keep the one there is. It is never shown again.
        """
        sent = {field: value for field, value in body.items() if field not in READ_ONLY}
        if credential is not None:
            sent["credential"] = credential
        return self._transport.put(f"{self._path}/{quote(name, safe='')}", self._kind, sent)

    def delete(self, name: str) -> None:
        """Delete it, and with it its credential."""
        self._transport.delete(f"{self._path}/{quote(name, safe='')}")
