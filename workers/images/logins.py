"""What a workspace signs in to a registry with: its registry documents, and the vault."""

from adapters.vault import VaultLocked
from adapters.wiring import Services
from domain.errors import NotFound, Unavailable
from workers.builder.tools import Credential, Login
from workers.gateway.documents import StoredDocuments


def logins_of(services: Services) -> Login:
    """Return how builds find what to sign in with.

    It raises Unavailable where there is something, and this machine cannot read it.
    """

    async def login(workspace_id: str, host: str) -> Credential | None:
        documents = StoredDocuments(services.store, workspace_id)
        for name, registry in (await documents.registries()).items():
            if registry.host != host or not registry.credential:
                continue
            try:
                password = await services.vault.reveal(workspace_id, registry.credential)
            except NotFound:
                raise Unavailable(
                    f"The password of the registry {name} is not in the vault; declare it again."
                ) from None
            except VaultLocked:
                raise Unavailable(
                    f"The password of the registry {name} cannot be read here: the build worker "
                    "needs the master key that it was kept under."
                ) from None
            return Credential(registry.username, password)
        return None

    return login
