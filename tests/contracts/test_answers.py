"""What is promised of answers that grow old: they go, a page at a time, and the young ones stay."""

from adapters.answers import START, forget_answers
from adapters.event_store.scripts import Script
from adapters.event_store.store import Store
from domain.agents import AgentCreated
from domain.ports import Answer, Change, Meta

ME = Meta(actor="key:k1", workspace_id="w1", command_id="c1")
HOUR = 3600.0


def answer_of(key: str) -> Answer:
    return Answer(scope="w1", key=key, body_hash="h1", body=b"the answer")


async def command(store: Store, key: str, *, stream: str = "") -> None:
    created = AgentCreated(agent_id=key, workspace_id="w1", name=key)
    change = Change(stream=stream or f"agent-{key}", events=[created], expected=0)
    await store.append([change], ME, answer=answer_of(key))


async def grow_old(store: Store, *keys: str, hours: int = 2) -> None:
    def script() -> Script[None]:
        for key in keys:
            text = "UPDATE commands SET at = at - $1 WHERE scope = 'w1' AND key = $2"
            yield text, (round(hours * HOUR * 1e6), key)

    await store.database.transact(script())


async def kept(store: Store, *keys: str) -> list[str]:
    return [key for key in keys if await store.answered("w1", key, "h1") is not None]


async def test_old_answers_go_and_young_ones_still_answer(store: Store) -> None:
    for key in ("a", "b", "c"):
        await command(store, key)
    await grow_old(store, "a", "c")

    assert await forget_answers(store.database, HOUR) == (2, START)

    assert await kept(store, "a", "b", "c") == ["b"]
    assert await store.answered("w1", "b", "h1") == b"the answer"
    assert await forget_answers(store.database, HOUR) == (0, START)


async def test_a_key_that_was_forgotten_is_new(store: Store) -> None:
    await command(store, "a")
    await grow_old(store, "a")
    await forget_answers(store.database, HOUR)

    await command(store, "a", stream="agent-other")

    assert await kept(store, "a") == ["a"]
    assert (await store.load("agent-other")).version == 1


async def test_a_page_is_all_that_is_touched_at_once(store: Store) -> None:
    keys = [f"k{number}" for number in range(5)]
    for key in keys:
        await command(store, key)
    await grow_old(store, "k0", "k1", "k3", "k4")

    first, after = await forget_answers(store.database, HOUR, limit=2)
    assert (first, after) == (2, ("w1", "k1"))
    assert await kept(store, *keys) == ["k2", "k3", "k4"]

    second, after = await forget_answers(store.database, HOUR, after, limit=2)
    assert (second, after) == (1, ("w1", "k3"))
    assert await forget_answers(store.database, HOUR, after, limit=2) == (1, START)
    assert await kept(store, *keys) == ["k2"]
