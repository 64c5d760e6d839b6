"""A process that writes to a log for the contract tests: `python -m tests.contracts.log_writer`.

`append URL NAME COUNT`: that many appends on streams of its own and one that all share.
`deploy URL COUNT`: so many deploys of one name at once.
`crash URL KEY`: one deploy under an idempotency key; dies after the commit, before it answers.
`endless URL NAME`: appends of three events on two streams until it is killed; prints each.
"""

import asyncio
import os
import signal
import sys

from adapters.event_store.store import Store, open_store
from domain.agents import AgentCreated
from domain.deploying import Deploy, deploy
from domain.deployments import Settings
from domain.entries import LogWritten
from domain.execution import Base, SourceDefinition
from domain.handling import Commands, Idempotency, Unit
from domain.ids import new_id
from domain.ports import Change, Meta

ME = Meta(actor="worker:test", workspace_id="w1", command_id="c1")
BASE = Base(name="python", python="3.11")
GREETER = Deploy(
    workspace_id="w1",
    name="greeter",
    definition=SourceDefinition(files={"agent.py": "sha256:" + "0" * 64}, entry_point="agent.py"),
    settings=Settings(),
)


async def deploy_greeter(commands: Commands) -> str:
    """Deploy the same thing; returns the agent's id."""

    async def work(unit: Unit) -> str:
        return (await deploy(unit, GREETER, BASE, new_id)).agent_id

    return (await commands.run(work, ME, key="w1/greeter")).value


async def deploy_once(commands: Commands, key: str) -> bytes:
    """Deploy under an idempotency key; returns the answer."""

    async def work(unit: Unit) -> bytes:
        return (await deploy(unit, GREETER, BASE, new_id)).agent_id.encode()

    once = Idempotency(scope="w1", key=key, body_hash="h1")
    answer, _ = await commands.run_once(work, ME, key="w1/greeter", idempotency=once)
    return answer


async def append_many(store: Store, name: str, count: int) -> None:
    """Append folding events and entries, alone and together, to own and shared streams."""

    async def one(number: int) -> None:
        id = f"{name}{number}"
        created = AgentCreated(agent_id=id, workspace_id="w1", name=id)
        said = LogWritten(stream="stdout", line=id)
        changes = [Change(stream=f"agent-{id}", events=[created, said, created], expected=0)]
        if number % 3 == 0:
            changes.append(Change(stream="run-shared", events=[said]))
        await store.append(changes, ME)
        await store.append([Change(stream="run-shared", events=[said])], ME)

    for start in range(0, count, 8):
        numbers = range(start, min(start + 8, count))
        await asyncio.gather(*(one(number) for number in numbers))


async def append_endlessly(store: Store, name: str) -> None:
    """Append until somebody puts an end to it."""
    number = 0
    while True:
        number += 1
        created = AgentCreated(agent_id=str(number), workspace_id="w1", name="n" * 500)
        changes = [
            Change(stream=f"agent-{name}{number}", events=[created, created], expected=0),
            Change(stream=f"agent-{name}{number}b", events=[created], expected=0),
        ]
        await store.append(changes, ME)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


async def main(action: str, url: str, *rest: str) -> None:
    """Do one of the things that the module's docstring lists."""
    store = await open_store(url)
    match action:
        case "append":
            await append_many(store, rest[0], int(rest[1]))
        case "deploy":
            commands = Commands(store)
            agents = await asyncio.gather(*(deploy_greeter(commands) for _ in range(int(rest[0]))))
            assert len(set(agents)) == 1, agents
        case "crash":
            await deploy_once(Commands(store), rest[0])
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            await append_endlessly(store, rest[0])
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
