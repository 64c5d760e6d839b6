"""Secrets of documents: in the vault before a document names them, out of it when none does.

Documents, the log and answers hold references only. Whatever fails, and whoever declares and
deletes documents at the same time, a document never names a secret that is not there; at worst a
secret stays in the vault that nothing names.
"""

from collections.abc import Awaitable, Callable

from adapters.vault import Vault, VaultLocked
from api.calls import Call
from api.folding import fold
from domain.catalog import Active
from domain.documents import MODEL_PROVIDERS, REGISTRIES, TOOLS, credential_of
from domain.errors import ArgosyError, Invalid, NotFound, Unavailable
from domain.ports import EventStore

MAX_SECRET = 10_000


class Credentials:
    """The secrets of one workspace's documents."""

    def __init__(self, store: EventStore, vault: Vault, workspace_id: str) -> None:
        self._store = store
        self._vault = vault
        self._workspace_id = workspace_id

    async def kept[T](self, secret: str | None, work: Callable[[str | None], Awaitable[T]]) -> T:
        """Do `work` with the secret's reference: what is not given (None, empty) is passed on.

        A refused command leaves no secret behind. One of which nobody knows whether it was stored
        may have named it.
        """
        if not secret:
            return await work(secret)
        reference = await self._vault.put(self._workspace_id, secret)
        try:
            made = await work(reference)
        except ArgosyError as refusal:
            if not isinstance(refusal, Unavailable):
                await self.release(reference)
            raise
        # Somebody may have released the same secret before this document was seen to name it.
        await self._vault.put(self._workspace_id, secret)
        return made

    async def release(self, reference: str) -> None:
        """Forget a secret unless a document names it. An empty reference is none."""
        if not reference or await self._named(reference):
            return
        try:
            secret = await self._vault.reveal(self._workspace_id, reference)
        except NotFound:
            return
        except VaultLocked:  # it was of no use to anybody
            secret = ""
        await self._vault.forget(self._workspace_id, reference)
        if secret and await self._named(reference):  # by a document declared meanwhile
            await self._vault.put(self._workspace_id, secret)

    async def _named(self, reference: str) -> bool:
        for kind in (TOOLS, MODEL_PROVIDERS, REGISTRIES):
            names = await self._store.names(self._workspace_id, kind.name)
            for id in names.values():
                document = (await fold(self._store, kind.decider, id)).state
                if isinstance(document, Active) and credential_of(document.spec) == reference:
                    return True
        return False


def credentials_of(call: Call, workspace_id: str) -> Credentials:
    """Return the secrets of a workspace."""
    return Credentials(call.store, call.services.vault, workspace_id)


def check_secret(secret: str, *, field: str) -> str:
    """Return a secret that fits into a header. Raises Invalid, which never shows it."""
    if not 0 < len(secret) <= MAX_SECRET or not secret.isascii() or not secret.isprintable():
        raise Invalid(
            f"{field} must be 1 to {MAX_SECRET} visible ASCII characters, without line breaks.",
            field=field,
        )
    return secret
