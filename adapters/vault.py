"""The vault: what agents' tools and models are unlocked with, encrypted under the master key."""

from typing import Protocol

from domain.errors import ArgosyError


class VaultLocked(ArgosyError):
    """The master key is missing, malformed, or not the one that the vault was filled with.

    Set ARGOSY_MASTER_KEY (or ARGOSY_MASTER_KEY_FILE) to the key that it was.
    """

    type = "vault-locked"
    title = "The vault cannot be opened"
    status = 503


class Vault(Protocol):
    """Secrets by reference. A reference says nothing of its secret and may be stored anywhere."""

    async def put(self, scope: str, secret: str) -> str:
        """Keep a secret of a workspace; returns its reference, the same for the same secret."""
        ...

    async def reveal(self, scope: str, reference: str) -> str:
        """Return the secret. Raises NotFound, and VaultLocked where the key is another."""
        ...

    async def forget(self, scope: str, reference: str) -> None:
        """Remove it for good."""
        ...


class ClosedVault:
    """What a process has that works with no secrets, and so needs no master key."""

    async def put(self, scope: str, secret: str) -> str:
        """Refuse."""
        del scope, secret
        raise VaultLocked(_CLOSED)

    async def reveal(self, scope: str, reference: str) -> str:
        """Refuse."""
        del scope, reference
        raise VaultLocked(_CLOSED)

    async def forget(self, scope: str, reference: str) -> None:
        """Refuse."""
        del scope, reference
        raise VaultLocked(_CLOSED)


_CLOSED = "This process works with no secrets; it was not given the master key."
