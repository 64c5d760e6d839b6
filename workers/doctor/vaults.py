"""The master key: there, a key, and the one that the vault was made with."""

from collections.abc import Sequence
from typing import Any

from adapters.master_keys import has_master_key, read_master_key
from adapters.settings import Settings
from adapters.sql_vault import fits
from adapters.vault import VaultLocked
from workers.doctor.findings import Finding, broken, doubtful, good

_NONE = (
    "The API and run hosts do not start without one: set ARGOSY_MASTER_KEY_FILE. Build workers "
    "need it for private registries, other processes for nothing."
)
_OTHER = (
    "Set ARGOSY_MASTER_KEY_FILE (or ARGOSY_MASTER_KEY) to the key that it was; if that is lost, "
    "docs/guides/keep-secrets.md says how to empty the vault."
)


# Any: a database's rows.
def judge_master_key(settings: Settings, vault: Sequence[Sequence[Any]]) -> Finding:
    """Return what is to be said of it. vault: its key, sealed; nothing where none was made yet."""
    if not has_master_key(settings):
        return doubtful("master key", "there is none", _NONE)
    try:
        key = read_master_key(settings)
    except VaultLocked as error:
        return broken("master key", error.detail, "The API and run hosts do not start before.")
    if not vault:
        return good("master key", "it can be read, and the vault will be made with it")
    [(key_id, sealed)] = vault
    if not fits(key, key_id, sealed):
        return broken("master key", "it is not the one that the vault was made with", _OTHER)
    return good("master key", "it opens the vault")
