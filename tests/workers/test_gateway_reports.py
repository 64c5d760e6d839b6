"""What an agent's runtime reports of itself to the gateway."""

from domain.entries import ToolCalled, ToolReturned
from tests.workers.gateways import opened


async def test_a_tool_result_is_an_entry() -> None:
    report = {
        "tool_call_id": "call-1",
        "function_name": "echo-tool__post",
        "arguments": '{"message": "hello"}',
        "result": "x" * 100_000,
        "tool_id": "echo-tool",
        "turn": 0,
    }
    async with opened() as door, door.client() as client:
        taken = await client.post("/runs/run-1/tool-result", json=report)
        other = await client.post("/runs/run-2/tool-result", json=report)
        wrong = await client.post("/runs/run-1/tool-result", content=b"[")

    assert [each.status_code for each in (taken, other, wrong)] == [201, 404, 400]
    called, returned = door.book.entries
    assert called == ToolCalled(
        call_id="call-1", tool="echo-tool__post", input={"message": "hello"}
    )
    assert isinstance(returned, ToolReturned)
    assert len(returned.output) < 17_000


async def test_a_run_reports_no_more_text_than_it_may_write() -> None:
    report = {"tool_call_id": "1", "function_name": "f", "result": "x" * 16_000}
    async with opened() as door, door.client() as client:
        statuses = {
            (await client.post("/runs/run-1/tool-result", json=report)).status_code
            for _ in range(700)
        }

    assert statuses == {201, 429}
    assert len(door.book.entries) < 2 * 10_240 * 1024 / 16_000


async def test_a_checkpoint_is_kept_while_the_sandbox_lives() -> None:
    point = {"action_id": "a-1", "messages": [{"role": "user", "content": "please"}]}
    async with opened() as door, door.client() as client:
        kept = await client.post("/runs/run-1/checkpoint", json=point)
        shown = await client.get("/runs/run-1/checkpoint/a-1")
        missing = await client.get("/runs/run-1/checkpoint/a-2")
        large = await client.post(
            "/runs/run-1/checkpoint", json={"action_id": "b", "messages": "x" * (1 << 20)}
        )

    assert (kept.status_code, kept.json()) == (201, {"id": "a-1"})
    assert shown.json() == point
    assert missing.status_code == 404
    assert large.status_code == 413
