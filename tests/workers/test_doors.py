"""A run's way out of a real sandbox: opened with it, judged by documents, closed with it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.settings import Settings
from domain.catalog import ModelProvider, Policy, Rule
from domain.documents import MODEL_PROVIDERS, POLICIES, TOOLS
from domain.entries import LogWritten, MessageSaid, ModelCalled, ToolRequested
from domain.errors import Conflict
from domain.merkle import Frontier, entry_leaf
from domain.runs import RunEnded
from domain.starter_kit import ECHO_POLICY, ECHO_TOOL, PLAYGROUND
from tests.workers.benches import Bench, open_bench
from tests.workers.gateways import Book
from tests.workers.worlds import WORKSPACE, World, eventually, hosting
from workers.gateway.documents import StoredDocuments
from workers.gateway.journals import RunJournal
from workers.workshops import places_scratch

CALLS = """
import json, os, sys, threading, time, urllib.error, urllib.request
def post(url, body):
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
def echo():
    return post(os.environ["TOOL_URL_ECHO_TOOL"] + "/echo", {"message": "hello"})[0]
def ask(text):
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    return post(os.environ["LLM_GATEWAY_URL"], body)
"""
KIT: dict[str, Any] = {"required_tools": [ECHO_TOOL], "policies": [ECHO_POLICY]}


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as opened:
        await opened.world.seed()
        yield opened


def of_type[E](history: list[Any], kind: type[E]) -> list[E]:
    return [each.event for each in history if isinstance(each.event, kind)]


async def begun(bench: Bench, code: str, **settings: Any) -> tuple[str, asyncio.Task[RunEnded]]:
    """Start a run that prints a line first; return it as soon as that is stored."""
    await bench.world.deploy({"agent.py": CALLS + code}, **settings)
    run_id = await bench.world.request()
    task = asyncio.create_task((await bench.execution(run_id)).run())
    await bench.world.until(run_id, MessageSaid)
    return run_id, task


async def test_an_agent_finds_the_gateway_by_its_variables(bench: Bench) -> None:
    code = """
import os, urllib.request
base = os.environ["LLM_GATEWAY_URL"].rsplit("/v1/", 1)[0]
print(urllib.request.urlopen(base + "/healthz", timeout=20).read().decode())
"""
    end, _ = await bench.run(code)

    assert (end.how, end.output) == ("completed", '{"status":"ok"}')
    assert list(places_scratch(bench.world.services.settings).iterdir()) == []


async def test_a_call_is_judged_by_what_holds_when_it_is_made(bench: Bench) -> None:
    code = """
print(echo(), flush=True)
while (status := echo()) == 200:
    time.sleep(0.02)
print(status)
"""
    run_id, task = await begun(bench, code, **KIT)
    await bench.world.declare(POLICIES, ECHO_POLICY, Policy())
    end = await task

    assert end.output == "200\n403"
    requested = of_type(await bench.world.history(run_id), ToolRequested)
    assert (requested[0].decision, requested[0].rule) == ("allow", f"{ECHO_POLICY}#1")
    assert (requested[-1].decision, requested[-1].rule) == ("deny", "")


async def test_a_tool_that_is_deleted_meanwhile_is_not_called(bench: Bench) -> None:
    code = """
print(echo(), flush=True)
while (status := echo()) == 200:
    time.sleep(0.02)
print(status)
"""
    _, task = await begun(bench, code, **KIT)
    await bench.world.delete(TOOLS, ECHO_TOOL)
    end = await task

    assert end.output == "200\n404"


async def test_a_run_has_used_what_the_gateway_saw_not_what_the_agent_says(bench: Bench) -> None:
    code = """
from argosy import agent
agent.usage(input_tokens=1_000_000, output_tokens=1_000_000)
print(ask("one two three")[0], ask("/say four five")[0])
"""
    end, history = await bench.run(CALLS + code)

    calls = of_type(history, ModelCalled)
    assert end.output == "200 200"
    assert [call.provider for call in calls] == [PLAYGROUND, PLAYGROUND]
    assert end.usage.input_tokens == sum(call.input_tokens for call in calls) > 0
    assert end.usage.output_tokens == sum(call.output_tokens for call in calls) > 0


async def test_without_the_gateway_it_has_used_what_the_agent_says(bench: Bench) -> None:
    code = "from argosy import agent\nagent.usage(input_tokens=7, output_tokens=3)\n"

    end, _ = await bench.run(code)

    assert (end.usage.input_tokens, end.usage.output_tokens) == (7, 3)


async def test_the_gateway_ends_a_run_whatever_its_program_goes_on_to_do(bench: Bench) -> None:
    rule = Rule(permission="approval_required", resource="*")
    await bench.world.declare(POLICIES, ECHO_POLICY, Policy(rules=[rule]))

    end, history = await bench.run(CALLS + "print(echo(), flush=True)\ntime.sleep(60)\n", **KIT)

    assert (end.how, end.reason, end.output) == ("failed", "policy_denied", "403")
    assert "approval" in end.detail
    assert end.usage.seconds < 15
    assert [each.decision for each in of_type(history, ToolRequested)] == ["approval_required"]


async def test_a_program_that_ends_well_does_not_undo_that(bench: Bench) -> None:
    rule = Rule(permission="approval_required", resource="*")
    await bench.world.declare(POLICIES, ECHO_POLICY, Policy(rules=[rule]))

    end, _ = await bench.run(CALLS + "print(echo())\n", **KIT)

    assert (end.how, end.reason) == ("failed", "policy_denied")


@pytest.mark.parametrize("ending", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
async def test_calls_under_way_when_the_program_ends_are_written_down(
    bench: Bench, ending: str
) -> None:
    code = f"""
threading.Thread(target=ask, args=("/slow 60",), daemon=True).start()
time.sleep(0.5)
{ending}
"""
    end, history = await bench.run(CALLS + code)

    [call] = of_type(history, ModelCalled)
    assert (call.provider, call.output_tokens) == (PLAYGROUND, 0)
    assert end.usage.seconds < 10
    frontier = Frontier()
    for each in history:
        if each.position is None:
            frontier = frontier.add(entry_leaf(each.version, each.type, each.data))
    assert (end.entries, end.entries_root) == (frontier.count, frontier.root())


async def test_a_run_that_is_cancelled_ends_its_calls(bench: Bench) -> None:
    run_id, task = await begun(bench, "print('go', flush=True)\nask('/slow 60')\n")
    bench.cancel.ask("enough")
    end = await task

    assert (end.how, end.detail) == ("cancelled", "enough")
    assert len(of_type(await bench.world.history(run_id), ModelCalled)) <= 1


async def test_variables_that_cannot_be_passed_are_left_out_and_named(bench: Bench) -> None:
    code = "import os; print(sorted(os.environ.keys() & {'HUGE', 'SMALL'}))"

    end, history = await bench.run(code, environment={"HUGE": "x" * 200_000, "SMALL": "x"})

    assert (end.how, end.output) == ("completed", "['SMALL']")
    lines = [each.line for each in of_type(history, LogWritten) if each.stream == "system"]
    assert lines == ["The variable HUGE was too large to be passed."]


async def test_runs_at_once_have_doors_of_their_own(bench: Bench) -> None:
    code = CALLS + "print(ask('/say ' + sys.argv[1])[1]['choices'][0]['message']['content'])\n"
    await bench.world.deploy({"agent.py": code})
    runs = [await bench.world.request(f"agent-{n}") for n in range(8)]

    executions = [await bench.execution(run) for run in runs]
    ends = await asyncio.gather(*(execution.run() for execution in executions))

    assert [end.output for end in ends] == [f"agent-{n}" for n in range(8)]
    for run in runs:
        assert len(of_type(await bench.world.history(run), ModelCalled)) == 1


async def test_what_a_dead_host_left_is_swept(world: World, settings: Settings) -> None:
    left = places_scratch(settings) / "left"
    left.mkdir(parents=True)
    (left / "gateway.sock").touch()

    async def is_gone() -> bool:
        return not left.exists()

    async with hosting(world):
        await eventually(is_gone)


async def test_documents_are_read_as_they_are_now(quiet_world: World) -> None:
    documents = StoredDocuments(quiet_world.services.store, WORKSPACE)
    nothing = await documents.tool(ECHO_TOOL), await documents.model_providers()
    await quiet_world.seed()
    one = ModelProvider(vendor="openai", models=["a"])
    await quiet_world.declare(MODEL_PROVIDERS, "another", one)
    tool = await documents.tool(ECHO_TOOL)
    policies = await documents.policies(["none", ECHO_POLICY])
    providers = await documents.model_providers()
    other = ModelProvider(vendor="openai", models=["b"])
    await quiet_world.declare(MODEL_PROVIDERS, "another", other)
    await quiet_world.delete(MODEL_PROVIDERS, PLAYGROUND)
    await quiet_world.delete(TOOLS, ECHO_TOOL)

    assert nothing == (None, {})
    assert tool is not None
    assert tool.serves == "echo"
    assert list(policies) == [ECHO_POLICY]
    assert list(providers) == ["another", PLAYGROUND]
    assert await documents.model_providers() == {"another": other}
    assert await documents.tool(ECHO_TOOL) is None
    assert await StoredDocuments(quiet_world.services.store, "other").model_providers() == {}


async def test_a_journal_takes_nothing_after_the_end() -> None:
    book = Book()
    journal = RunJournal(book)
    call = ModelCalled(call_id="1", provider="p", model="m", status=200, input_tokens=2)
    journal.add([call])
    journal.close()
    journal.add([call])
    with pytest.raises(Conflict):
        await journal.store([call])

    assert book.entries == [call]
    assert (journal.model_calls, journal.input_tokens) == (1, 2)
