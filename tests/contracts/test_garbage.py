"""Garbage collection: what the log needs stays, on both databases and in both stores."""

import asyncio
import time
from pathlib import Path

import pytest

from adapters.blobs import BlobStore, FolderBlobs
from adapters.event_store.store import Store
from adapters.garbage import LEAD_SECONDS, ROLE, Amount, Collected, collect
from adapters.wiring import open_blobs
from domain.agents import AgentArchived, AgentCreated, AgentVersionDrafted
from domain.errors import Conflict, NotFound
from domain.execution import SourceDefinition
from domain.ports import Change, Meta
from tests.s3_server import S3Server, s3_server

__all__ = ["s3_server"]

META = Meta(actor="system", workspace_id="w", command_id="c")
STREAM = "agent-a"


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return FolderBlobs(tmp_path / "blobs")
    server: S3Server = request.getfixturevalue("s3_server")
    return open_blobs(server.settings(server.new_bucket().name))


async def deploy(store: Store, *blobs: str) -> None:
    head = await store.load(STREAM)
    events = [] if head.events else [AgentCreated(agent_id="a", workspace_id="w", name="echo")]
    files = {f"{number}.py": blob for number, blob in enumerate(blobs)}
    drafted = AgentVersionDrafted(
        agent_id="a",
        version=head.folding_version + 1,
        definition=SourceDefinition(files=files, entry_point="0.py"),
        mode="INSTANT_RUNTIME",
        reason="",
    )
    change = Change(stream=STREAM, events=[*events, drafted], expected=head.folding_version)
    await store.append([change], META)


async def delete_agent(store: Store) -> None:
    change = Change(stream=STREAM, events=[AgentArchived(agent_id="a")])
    await store.append([change], META)


async def later(store: Store, blobs: BlobStore, *, delete: bool = True) -> Collected:
    """Collect as if the grace period were over for all that was stored so far."""
    after = time.time() + 3600
    return await collect(store, blobs, stored_before=after, aside_before=after, delete=delete)


async def there(blobs: BlobStore) -> dict[str, bool]:
    """Return what is stored, and whether it is set aside, without asking for it."""
    pages = [page async for page in blobs.stored()]
    return {each.digest: each.aside for page in pages for each in page}


async def test_what_nothing_names_is_set_aside_and_then_removed(
    store: Store, blobs: BlobStore
) -> None:
    named, orphan = await blobs.put_all([b"named", b"orphan"])
    await deploy(store, named)

    first = await later(store, blobs)
    assert await there(blobs) == {named: False, orphan: True}
    second = await later(store, blobs)

    assert await there(blobs) == {named: False}
    assert first.named == second.named == Amount(blobs=1, bytes=5)
    assert first.set_aside == second.removed == Amount(blobs=1, bytes=6)
    with pytest.raises(NotFound):
        await blobs.get(orphan)


async def test_a_dry_run_tells_the_same_and_changes_nothing(store: Store, blobs: BlobStore) -> None:
    named, orphan = await blobs.put_all([b"named", b"orphan"])
    await deploy(store, named)

    told = await later(store, blobs, delete=False)

    assert told.set_aside == Amount(blobs=1, bytes=6)
    assert await there(blobs) == {named: False, orphan: False}


async def test_what_is_young_is_kept(store: Store, blobs: BlobStore) -> None:
    orphan, named = await blobs.put_all([b"orphan", b"named"])
    await deploy(store, named)
    ago = time.time() - 3600

    young = await collect(store, blobs, stored_before=ago, aside_before=ago, delete=True)
    await later(store, blobs)
    waiting = await collect(store, blobs, stored_before=ago, aside_before=ago, delete=True)

    assert young.young == Amount(blobs=1, bytes=6)
    assert waiting.waiting == Amount(blobs=1, bytes=6)
    assert await there(blobs) == {named: False, orphan: True}


async def test_versions_go_with_their_agent(store: Store, blobs: BlobStore) -> None:
    first, second = await blobs.put_all([b"1", b"2"])
    await deploy(store, first)
    await deploy(store, second)
    assert (await later(store, blobs)).set_aside.blobs == 0

    await delete_agent(store)
    await later(store, blobs)
    await later(store, blobs)

    assert await there(blobs) == {}


async def test_whoever_asks_for_what_is_set_aside_gets_it(
    store: Store, blobs: BlobStore, tmp_path: Path
) -> None:
    named = await blobs.put(b"named")
    await deploy(store, named)
    items = [b"got", b"measured", b"known", b"fetched", b"streamed"]
    digests = await blobs.put_all(items)
    await later(store, blobs)
    assert sum((await there(blobs)).values()) == len(items)

    assert await blobs.get(digests[0]) == b"got"
    assert await blobs.size(digests[1]) == 8
    assert await blobs.has(digests[2:3]) == {digests[2]}
    await blobs.fetch(digests[3], tmp_path / "copy")
    assert [piece async for piece in blobs.stream(digests[4])] == [b"streamed"]

    assert await blobs.has(digests) == set(digests)


async def test_what_a_deploy_names_meanwhile_comes_back(store: Store, blobs: BlobStore) -> None:
    """It was put when it was there, then set aside, then named: the tightest of races."""
    named, used_again = await blobs.put_all([b"named", b"used again"])
    await deploy(store, named)
    await blobs.put(b"used again")
    await later(store, blobs)
    await deploy(store, named, used_again)

    done = await later(store, blobs)

    assert done.brought_back == Amount(blobs=1, bytes=10)
    assert done.removed.blobs == 0
    await later(store, blobs)
    assert await blobs.get(used_again) == b"used again"


async def test_deploys_beside_collections_lose_nothing(store: Store, blobs: BlobStore) -> None:
    """Each deploy puts what an earlier one left unnamed, while collections go round and round."""
    contents = [b"%d" % number for number in range(12)]
    digests = await blobs.put_all(contents)
    await deploy(store, await blobs.put(b"first"))
    deployed, rounds = asyncio.Event(), 0

    async def deploys() -> None:
        for content in contents:
            await deploy(store, await blobs.put(content))
        deployed.set()

    async def collections() -> None:
        nonlocal rounds
        while not deployed.is_set():
            now = time.time()
            # What is in its place counts as old at once; what was set aside has an hour.
            await collect(
                store, blobs, stored_before=now + 60, aside_before=now - 3600, delete=True
            )
            rounds += 1

    await asyncio.gather(deploys(), collections())

    assert rounds
    assert await blobs.get_all(digests) == contents


async def test_one_collects_at_a_time(store: Store, blobs: BlobStore) -> None:
    await deploy(store, await blobs.put(b"x"))
    assert await store.leases.lead(ROLE, "another", LEAD_SECONDS)

    with pytest.raises(Conflict, match="under way"):
        await later(store, blobs)
    assert (await later(store, blobs, delete=False)).named.blobs == 1


async def test_an_empty_log_is_not_believed(store: Store, blobs: BlobStore) -> None:
    orphan = await blobs.put(b"orphan")

    with pytest.raises(Conflict, match="ARGOSY_DATABASE"):
        await later(store, blobs)

    assert await there(blobs) == {orphan: False}
    assert await store.leases.lead(ROLE, "another", LEAD_SECONDS)
