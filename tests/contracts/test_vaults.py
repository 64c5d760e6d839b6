"""What a vault promises: secrets by reference, which only the master key gives away."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from adapters.event_store.scripts import Script
from adapters.event_store.store import Store, open_store
from adapters.sql_vault import (
    MAX_SECRET_BYTES,
    SqlVault,
    change_master_key,
    discard_empty_vault,
    empty_vault,
    open_vault,
)
from adapters.vault import Vault, VaultLocked
from domain.errors import Conflict, NotFound, TooLarge

KEY = os.urandom(32)
SECRET = "sk-canary-5f1e"


@pytest.fixture
async def vault(store: Store) -> SqlVault:
    """An empty vault."""
    return await open_vault(store.database, KEY)


@pytest.fixture
async def elsewhere(database_url: str, vault: Vault) -> AsyncIterator[Store]:
    """The same database, as another process has it open."""
    del vault  # is made first
    opened = await open_store(database_url)
    yield opened
    await opened.close()


async def test_what_was_put_is_revealed(vault: Vault) -> None:
    secrets = ["sk-1", "", "ключ 🔑\n\0", "x" * MAX_SECRET_BYTES]
    references = [await vault.put("w1", secret) for secret in secrets]

    assert [await vault.reveal("w1", reference) for reference in references] == secrets


async def test_a_secret_that_is_too_large_is_refused(vault: Vault) -> None:
    with pytest.raises(TooLarge):
        await vault.put("w1", "x" * (MAX_SECRET_BYTES + 1))


async def test_the_same_secret_has_the_same_reference(vault: Vault) -> None:
    first = await vault.put("w1", SECRET)
    again = await vault.put("w1", SECRET)

    assert first == again
    assert await vault.put("w1", SECRET + "x") != first


async def test_scopes_have_secrets_of_their_own(vault: Vault) -> None:
    one, other = await vault.put("w1", SECRET), await vault.put("w2", SECRET)
    assert one != other
    await vault.forget("w2", one)  # nothing there

    with pytest.raises(NotFound):
        await vault.reveal("w2", one)
    assert await vault.reveal("w1", one) == SECRET


async def test_scope_and_secret_are_not_run_together(vault: Vault) -> None:
    assert await vault.put("w1", "2x") != await vault.put("w12", "x")


async def test_what_is_forgotten_is_gone_and_may_be_put_again(vault: Vault) -> None:
    reference = await vault.put("w1", SECRET)
    await vault.forget("w1", reference)
    await vault.forget("w1", reference)

    with pytest.raises(NotFound):
        await vault.reveal("w1", reference)
    assert await vault.put("w1", SECRET) == reference
    assert await vault.reveal("w1", reference) == SECRET


async def test_processes_share_it(vault: Vault, elsewhere: Store) -> None:
    other = await open_vault(elsewhere.database, KEY)
    reference = await vault.put("w1", SECRET)

    assert await other.reveal("w1", reference) == SECRET
    assert await other.put("w1", SECRET) == reference
    await other.forget("w1", reference)
    with pytest.raises(NotFound):
        await vault.reveal("w1", reference)


async def test_many_that_open_it_first_make_one(store: Store, database_url: str) -> None:
    stores = [store, *[await open_store(database_url) for _ in range(4)]]
    vaults = await asyncio.gather(*(open_vault(each.database, KEY) for each in stores))
    references = await asyncio.gather(*(vault.put("w1", SECRET) for vault in vaults * 5))

    assert len(set(references)) == 1
    assert [await vault.reveal("w1", references[0]) for vault in vaults] == [SECRET] * 5
    for each in stores[1:]:
        await each.close()


async def test_another_master_key_does_not_open_it(vault: Vault, elsewhere: Store) -> None:
    with pytest.raises(VaultLocked, match=r"nothing yet.*ARGOSY_MASTER_KEY"):
        await open_vault(elsewhere.database, os.urandom(32))

    await vault.put("w1", SECRET)
    with pytest.raises(VaultLocked, match="1 secret,"):
        await open_vault(elsewhere.database, os.urandom(32))
    await open_vault(elsewhere.database, KEY)


async def test_nothing_stored_says_anything_of_a_secret(vault: Vault, store: Store) -> None:
    """Nor can a guess be tested without the key: neither digest nor reference is of it alone."""
    reference = await vault.put("w1", SECRET)
    await vault.put("w2", SECRET)
    one, other = await rows(store, "SELECT * FROM vault_secrets")
    keys = await rows(store, "SELECT * FROM vault_keys")

    assert SECRET not in reference
    assert SECRET.encode() not in b"".join(_bytes(value) for value in [*one, *other, *keys[0]])
    assert one[2][12:] != other[2][12:]
    assert KEY not in b"".join(_bytes(value) for value in keys[0])


async def test_sealed_twice_it_looks_different(vault: Vault, store: Store) -> None:
    reference = await vault.put("w1", SECRET)
    first = await rows(store, "SELECT sealed FROM vault_secrets")
    await vault.forget("w1", reference)
    await vault.put("w1", SECRET)

    assert await rows(store, "SELECT sealed FROM vault_secrets") != first


@pytest.mark.parametrize("place", [0, 12, -1])
async def test_a_changed_row_does_not_open(vault: Vault, store: Store, place: int) -> None:
    reference = await vault.put("w1", SECRET)
    sealed = bytearray((await rows(store, "SELECT sealed FROM vault_secrets"))[0][0])
    sealed[place] ^= 1
    await change(store, "UPDATE vault_secrets SET sealed = $1", bytes(sealed))

    with pytest.raises(VaultLocked, match=reference):
        await vault.reveal("w1", reference)


@pytest.mark.parametrize("cut", [0, 5, 12, 20])
async def test_a_row_that_was_cut_does_not_open(vault: Vault, store: Store, cut: int) -> None:
    reference = await vault.put("w1", SECRET)
    sealed = (await rows(store, "SELECT sealed FROM vault_secrets"))[0][0]
    await change(store, "UPDATE vault_secrets SET sealed = $1", sealed[:cut])

    with pytest.raises(VaultLocked):
        await vault.reveal("w1", reference)


async def test_a_secret_opens_nowhere_but_in_its_place(vault: Vault, store: Store) -> None:
    """Whoever can write the database cannot give one workspace the secret of another."""
    mine, theirs = await vault.put("w1", "mine"), await vault.put("w2", "theirs")
    await change(
        store,
        "UPDATE vault_secrets SET sealed = (SELECT sealed FROM vault_secrets WHERE scope = 'w2')",
    )
    with pytest.raises(VaultLocked):
        await vault.reveal("w1", mine)
    assert await vault.reveal("w2", theirs) == "theirs"

    await change(store, "DELETE FROM vault_secrets WHERE scope = 'w1'")
    await change(store, "UPDATE vault_secrets SET scope = 'w1'")
    with pytest.raises(VaultLocked):
        await vault.reveal("w1", theirs)

    await change(store, "UPDATE vault_secrets SET scope = 'w2', reference = $1", mine)
    with pytest.raises(VaultLocked):
        await vault.reveal("w2", mine)


async def test_a_changed_key_does_not_open(vault: Vault, store: Store) -> None:
    del vault
    sealed = bytearray((await rows(store, "SELECT sealed FROM vault_keys"))[0][0])
    sealed[-1] ^= 1
    await change(store, "UPDATE vault_keys SET sealed = $1", bytes(sealed))

    with pytest.raises(VaultLocked):
        await open_vault(store.database, KEY)


async def test_an_empty_vault_may_be_made_anew_and_no_other(vault: Vault, elsewhere: Store) -> None:
    reference = await vault.put("w1", SECRET)
    assert await discard_empty_vault(elsewhere.database) == 1
    assert await vault.reveal("w1", reference) == SECRET
    await vault.forget("w1", reference)

    assert await discard_empty_vault(elsewhere.database) == 0
    await open_vault(elsewhere.database, os.urandom(32))
    with pytest.raises(VaultLocked, match="restart"):
        await vault.put("w1", SECRET)


async def test_the_master_key_can_be_changed(vault: Vault, elsewhere: Store) -> None:
    reference = await vault.put("w1", SECRET)
    new = os.urandom(32)
    with pytest.raises(VaultLocked):
        await change_master_key(elsewhere.database, new, new)
    await change_master_key(elsewhere.database, KEY, new)

    with pytest.raises(VaultLocked):
        await open_vault(elsewhere.database, KEY)
    other = await open_vault(elsewhere.database, new)
    assert await other.reveal("w1", reference) == SECRET
    assert await other.put("w1", SECRET) == reference
    assert await vault.put("w1", "another") == await other.put("w1", "another")  # still open


async def test_without_a_vault_there_is_no_key_to_change(store: Store) -> None:
    with pytest.raises(Conflict):
        await change_master_key(store.database, KEY, KEY)


async def test_an_emptied_vault_is_made_anew_under_any_key(vault: Vault, elsewhere: Store) -> None:
    reference = await vault.put("w1", SECRET)
    await vault.put("w2", SECRET)
    assert await empty_vault(elsewhere.database) == 2

    other = await open_vault(elsewhere.database, os.urandom(32))
    for opened in (vault, other):
        with pytest.raises(NotFound):
            await opened.reveal("w1", reference)
    assert await other.put("w1", SECRET) != reference
    with pytest.raises(VaultLocked, match="restart"):
        await vault.put("w1", SECRET)


async def rows(store: Store, text: str) -> list[tuple[bytes, ...]]:
    """Return what is really there."""
    return [tuple(row) for row in await store.database.fetch(text, ())]


async def change(store: Store, text: str, *values: str | bytes) -> None:
    """Do what only somebody with the database can."""

    def script() -> Script[None]:
        yield text, values

    await store.database.transact(script())


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
