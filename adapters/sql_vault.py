"""The vault in the log's database: every secret sealed with AES-256-GCM.

Secrets are sealed under the vault's own key, which is random, made once, and itself sealed under
the operator's master key: so the master key can be changed without touching a secret.

Against whom it does not protect: whoever has the database and the master key, or reads the memory
of a process that opened it; whoever can write the database may take secrets away, and none other
in their place. What was forgotten stays, sealed, in backups and in pages not yet used again.
"""

import base64
import hmac
import os

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from adapters.event_store.backend import Database
from adapters.event_store.scripts import Script
from adapters.vault import VaultLocked
from domain.errors import Conflict, NotFound, TooLarge
from domain.ids import new_id

KEY_BYTES = 32
NONCE_BYTES = 12
MAX_SECRET_BYTES = 64 * 1024

# A key for each use, so that nothing done with one says anything of another.
_FOR_THE_KEY = b"argosy vault: seal the vault's key"
_FOR_SECRETS = b"argosy vault: seal secrets"
_FOR_REFERENCES = b"argosy vault: make references"

TABLE = "vault_keys"
KEY = f"SELECT key_id, sealed FROM {TABLE} WHERE name = 'vault'"  # noqa: S608  # a constant
_FIRST_KEY = """
INSERT INTO vault_keys (name, key_id, sealed, at) VALUES ('vault', $1, $2, now_us())
ON CONFLICT (name) DO NOTHING
"""
_REPLACE_KEY = """
UPDATE vault_keys SET sealed = $2 WHERE name = 'vault' AND sealed = $1 RETURNING key_id
"""
_PUT = """
INSERT INTO vault_secrets (scope, reference, sealed, at) VALUES ($1, $2, $3, now_us())
ON CONFLICT (scope, reference) DO NOTHING
"""
_REVEAL = "SELECT sealed FROM vault_secrets WHERE scope = $1 AND reference = $2"
_FORGET = "DELETE FROM vault_secrets WHERE scope = $1 AND reference = $2"
_COUNT = "SELECT count(*) FROM vault_secrets"

log = structlog.stdlib.get_logger(__name__)


class SqlVault:
    """An open `Vault`; made by `open_vault`. Contract: `tests/contracts/test_vaults.py`.

    A secret that is put twice in a scope is kept once: forget it when nothing refers to it.
    """

    def __init__(self, database: Database, key_id: str, key: bytes) -> None:
        self._database = database
        self._key_id = key_id
        self._cipher = AESGCM(_derive(key, _FOR_SECRETS))
        self._naming = _derive(key, _FOR_REFERENCES)

    async def put(self, scope: str, secret: str) -> str:
        """Keep a secret; see `Vault`. Raises TooLarge."""
        plain = secret.encode(errors="surrogatepass")
        if len(plain) > MAX_SECRET_BYTES:
            raise TooLarge(f"A secret has at most {MAX_SECRET_BYTES} bytes.")
        reference = self._reference(scope, plain)
        sealed = _seal(self._cipher, plain, _context(scope, reference))
        if not await self._database.transact(_put(self._key_id, scope, reference, sealed)):
            raise VaultLocked("The vault was made anew since this process started: restart it.")
        return reference

    async def reveal(self, scope: str, reference: str) -> str:
        """Return the secret; see `Vault`."""
        rows = await self._database.fetch(_REVEAL, (scope, reference))
        if not rows:
            raise NotFound(f"There is no secret {reference} here.")
        try:
            plain = _open(self._cipher, rows[0][0], _context(scope, reference))
        except InvalidTag:
            raise VaultLocked(
                f"The secret {reference} was not sealed with this vault's key, or its row was "
                "changed since. Restore the row, or store the secret again."
            ) from None
        return plain.decode(errors="surrogatepass")

    async def forget(self, scope: str, reference: str) -> None:
        """Remove it, if it is there."""
        await self._database.transact(_forget(scope, reference))

    def _reference(self, scope: str, plain: bytes) -> str:
        name = hmac.digest(self._naming, _parts(scope.encode(), plain), "sha256")
        return f"secret_{base64.urlsafe_b64encode(name).decode().rstrip('=')}"


async def open_vault(database: Database, master_key: bytes) -> SqlVault:
    """Open the vault, making it if there is none. Several processes may do this at once.

    Raises VaultLocked when the master key is not the one that it was made with.
    """
    rows = await database.fetch(KEY, ())
    if not rows:
        key_id = new_id()
        sealed = _seal_key(os.urandom(KEY_BYTES), key_id, master_key)
        rows = [await database.transact(_first_key(key_id, sealed))]
        log.info("vault.made", key=rows[0][0])
    key_id, sealed = rows[0]
    return SqlVault(database, key_id, await _open_key(database, key_id, sealed, master_key))


def fits(master_key: bytes, key_id: str, sealed: bytes) -> bool:
    """Whether this is the master key of a vault whose key is what `KEY` selects."""
    try:
        _open(_cipher_of(master_key), sealed, key_id.encode())
    except InvalidTag:
        return False
    return True


async def change_master_key(database: Database, old: bytes, new: bytes) -> None:
    """Have the vault opened with another master key. Whoever has it open need not be restarted.

    Raises VaultLocked where `old` does not open it, and Conflict where there is nothing to open.
    """
    rows = await database.fetch(KEY, ())
    if not rows:
        raise Conflict("There is no vault yet: any master key makes one.")
    key_id, sealed = rows[0]
    key = await _open_key(database, key_id, sealed, old)
    if not await database.transact(_replace_key(sealed, _seal_key(key, key_id, new))):
        raise Conflict("The vault's key was changed meanwhile.")


async def empty_vault(database: Database) -> int:
    """Forget every secret, and the vault's key with them; returns how many there were."""
    return await database.transact(_empty())


async def discard_empty_vault(database: Database) -> int:
    """Take a vault without secrets away, whatever its key; returns how many secrets there are."""
    return await database.transact(_discard_empty())


async def _open_key(database: Database, key_id: str, sealed: bytes, master_key: bytes) -> bytes:
    try:
        return _open(_cipher_of(master_key), sealed, key_id.encode())
    except InvalidTag:
        count = (await database.fetch(_COUNT, ()))[0][0]
        raise VaultLocked(_wrong_key(count)) from None


def _seal_key(key: bytes, key_id: str, master_key: bytes) -> bytes:
    return _seal(_cipher_of(master_key), key, key_id.encode())


def _cipher_of(master_key: bytes) -> AESGCM:
    return AESGCM(_derive(master_key, _FOR_THE_KEY))


def _wrong_key(count: int) -> str:
    secrets = {0: "nothing yet", 1: "1 secret"}.get(count, f"{count} secrets")
    return (
        f"The master key is not the one that the vault, which keeps {secrets}, was made with. "
        "Set ARGOSY_MASTER_KEY (or ARGOSY_MASTER_KEY_FILE) to the key that it was; "
        "if that is lost, `python -m api forget-secrets` empties the vault."
    )


def _first_key(key_id: str, sealed: bytes) -> Script[tuple[str, bytes]]:
    yield _FIRST_KEY, (key_id, sealed)
    rows = yield KEY, ()
    return rows[0][0], rows[0][1]


def _replace_key(sealed: bytes, another: bytes) -> Script[bool]:
    rows = yield _REPLACE_KEY, (sealed, another)
    return bool(rows)


def _empty() -> Script[int]:
    yield f"{KEY} FOR UPDATE", ()  # nobody puts a secret meanwhile
    rows = yield _COUNT, ()
    yield "DELETE FROM vault_secrets", ()
    yield "DELETE FROM vault_keys", ()
    return rows[0][0]


def _discard_empty() -> Script[int]:
    yield f"{KEY} FOR UPDATE", ()  # nobody puts a secret meanwhile
    rows = yield _COUNT, ()
    count = rows[0][0]
    if count == 0:
        yield "DELETE FROM vault_keys", ()
    return count


def _put(key_id: str, scope: str, reference: str, sealed: bytes) -> Script[bool]:
    """Keep it unless the vault has another key by now; returns whether it has not."""
    rows = yield f"{KEY} FOR UPDATE", ()
    if not rows or rows[0][0] != key_id:
        return False
    yield _PUT, (scope, reference, sealed)
    return True


def _forget(scope: str, reference: str) -> Script[None]:
    yield _FORGET, (scope, reference)


def _derive(key: bytes, use: bytes) -> bytes:
    # No salt: what it is derived from is random already (RFC 5869, 3.1).
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=use).derive(key)


def _context(scope: str, reference: str) -> bytes:
    """What a sealed secret belongs to: it opens nowhere else."""
    return _parts(scope.encode(), reference.encode())


def _parts(first: bytes, second: bytes) -> bytes:
    return len(first).to_bytes(8) + first + second


def _seal(cipher: AESGCM, plain: bytes, context: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, context)


def _open(cipher: AESGCM, sealed: bytes, context: bytes) -> bytes:
    if len(sealed) <= NONCE_BYTES:
        raise InvalidTag
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
