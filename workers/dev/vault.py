"""`python -m workers.dev.vault FILE`: whether a new master key may be made where FILE is gone.

Ends with 0 where nothing is lost by it: an empty vault is taken away, to be made anew.
"""

import sys
from pathlib import Path

import uvloop

from adapters.event_store.store import open_store
from adapters.settings import Settings, read_settings
from adapters.sql_vault import discard_empty_vault
from adapters.vault import VaultLocked
from domain.errors import ArgosyError


async def check(settings: Settings, file: Path) -> None:
    """Raise VaultLocked where secrets are sealed under the key that is gone."""
    store = await open_store(settings.log_url)
    try:
        count = await discard_empty_vault(store.database)
    finally:
        await store.close()
    if count:
        raise VaultLocked(
            f"The master key {file} is gone, and the vault's secrets ({count}) cannot be read "
            "without it. Put the file back, or set ARGOSY_MASTER_KEY to the key that was in it; "
            "if it is lost, docs/guides/keep-secrets.md says how to empty the vault."
        )


def main() -> int:
    """Say what is wrong, if anything is. Returns the exit code."""
    try:
        uvloop.run(check(read_settings(), Path(sys.argv[1])))
    except ArgosyError as refusal:
        sys.stderr.write(f"{refusal.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
