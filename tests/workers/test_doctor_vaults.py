"""What the doctor says of the master key: on both databases, before and after there is a vault."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.event_store.store import Store
from adapters.master_keys import decode_key
from adapters.settings import Concealed, Settings
from adapters.sql_vault import open_vault
from tests.stores import MASTER_KEY, database_url, store
from workers.doctor.databases import look_at_database
from workers.doctor.findings import Finding

__all__ = ["database_url", "store"]


def of_the_key(found: Sequence[Finding]) -> Finding:
    [finding] = [each for each in found if each.check == "master key"]
    assert finding.status == "ok" or finding.advice
    assert MASTER_KEY not in repr(finding)
    return finding


async def look(url: str, key: str) -> Finding:
    settings = Settings(database=url, master_key=Concealed(key))
    return of_the_key(await look_at_database(settings))


async def test_the_key_of_the_vault(store: Store, database_url: str) -> None:
    before = await look(database_url, MASTER_KEY)
    made = await store.database.fetch("SELECT count(*) FROM vault_keys", ())
    await open_vault(store.database, decode_key(MASTER_KEY, ""))

    after = await look(database_url, MASTER_KEY)

    assert (before.status, after.status) == ("ok", "ok")
    assert made[0][0] == 0
    assert "will be made" in before.detail
    assert "opens" in after.detail


@pytest.mark.parametrize(
    ("key", "status", "words"),
    [
        ("b1" * 32, "failure", "not the one"),
        ("sesame", "failure", "not a key"),
        ("", "warning", "there is none"),
    ],
)
async def test_a_key_that_opens_nothing(
    store: Store, database_url: str, key: str, status: str, words: str
) -> None:
    await open_vault(store.database, decode_key(MASTER_KEY, ""))

    finding = await look(database_url, key)

    assert finding.status == status
    assert words in finding.detail
    assert "sesame" not in repr(finding)


def test_a_key_before_there_is_a_database(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, master_key_file=tmp_path / "absent")

    finding = of_the_key(asyncio.run(look_at_database(settings)))

    assert finding.status == "failure"
    assert str(tmp_path / "absent") in finding.detail
    assert list(tmp_path.iterdir()) == []
