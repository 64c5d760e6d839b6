"""What operators do with the vault: `python -m api rekey`, `python -m api forget-secrets`."""

import asyncio
import sys

from adapters.event_store.store import open_store
from adapters.master_keys import decode_key, read_master_key
from adapters.settings import Settings
from adapters.sql_vault import change_master_key, empty_vault


async def rekey(settings: Settings) -> None:
    """Seal the vault's key under the master key that is on standard input, instead of the old."""
    old = read_master_key(settings)
    text = await asyncio.to_thread(sys.stdin.readline)
    new = decode_key(text, "What is on standard input is not a key")
    store = await open_store(settings.log_url)
    try:
        await change_master_key(store.database, old, new)
    finally:
        await store.close()
    sys.stdout.write(
        "The vault opens with the new master key. Give it to every API process and run host before "
        "they start again, and keep the old one for as long as your backups.\n"
    )


async def forget_secrets(settings: Settings) -> None:
    """Empty the vault, so that any master key makes a new one. Needs none itself."""
    store = await open_store(settings.log_url)
    try:
        count = await empty_vault(store.database)
    finally:
        await store.close()
    sys.stdout.write(
        f"Secrets forgotten: {count}. Restart every API process and run host with one master key, "
        "and store the secrets again.\n"
    )
