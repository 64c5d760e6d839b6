"""A workspace's documents, read from the log whenever they are asked for."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from domain.catalog import Active, ModelProvider, Policy, Registry, Spec, Tool
from domain.documents import MODEL_PROVIDERS, POLICIES, REGISTRIES, TOOLS, Kind, spec_in
from domain.ids import stream_name
from domain.ports import EventStore


class StoredDocuments:
    """See `session.Documents`. Raises Unavailable where the database fails."""

    def __init__(self, store: EventStore, workspace_id: str) -> None:
        self._store = store
        self._workspace_id = workspace_id

    async def tool(self, name: str) -> Tool | None:
        """See `session.Documents`."""
        return await self._named(TOOLS, name)

    async def policies(self, names: Sequence[str]) -> Mapping[str, Policy]:
        """See `session.Documents`."""
        found = await asyncio.gather(*(self._named(POLICIES, name) for name in names))
        return _there(names, found)

    async def model_providers(self) -> Mapping[str, ModelProvider]:
        """See `session.Documents`."""
        return await self._all(MODEL_PROVIDERS)

    async def registries(self) -> Mapping[str, Registry]:
        """Return the workspace's registries by name, in order."""
        return await self._all(REGISTRIES)

    async def _all[S: Spec](self, kind: Kind[S]) -> Mapping[str, S]:
        ids = await self._store.names(self._workspace_id, kind.name)
        found = await asyncio.gather(*(self._spec(kind, id) for id in ids.values()))
        return dict(sorted(_there(ids, found).items()))

    async def _named[S: Spec](self, kind: Kind[S], name: str) -> S | None:
        id = await self._store.resolve(self._workspace_id, kind.name, name)
        return await self._spec(kind, id) if id else None

    async def _spec[S: Spec](self, kind: Kind[S], id: str) -> S | None:
        head = await self._store.load(stream_name(kind.name, id))
        document = kind.decider.fold(recorded.event for recorded in head.events)
        return spec_in(kind, document) if isinstance(document, Active) else None


def _there[S: Spec](names: Iterable[str], found: Iterable[S | None]) -> dict[str, S]:
    return {name: spec for name, spec in zip(names, found, strict=True) if spec is not None}
