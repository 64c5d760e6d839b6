"""`/metrics`: right numbers, few labels, nobody's secrets, and whom it is shown to."""

import asyncio
from contextlib import aclosing

import pytest

from api.metrics import look
from domain.jobs import Job
from domain.ports import Change, Meta, TakeLease
from domain.runs import RunClaimed, RunEnded, RunStarted
from tests.api.conftest import KEY, Api
from tests.pages import Numbers, grown, here, numbers

CLAIMED = RunClaimed(run_id="r", attempt=1, worker="host-1")
ME = Meta(actor="worker:t", workspace_id="w", command_id="c")


async def read(api: Api) -> Numbers:
    answer = await api.ask("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return numbers(answer.text)


async def test_requests_are_counted_by_route_whatever_their_paths(api: Api) -> None:
    before = here()
    for path in ("/v1/whoami", "/v1/workspaces/default", "/v1/workspaces/none", "/nowhere/42"):
        await api.ask("GET", path)
    await api.ask("BREW", "/v1/whoami")

    found = grown(before, here())
    counted = {key[1:]: n for key, n in found.items() if key[0] == "argosy_requests_total"}
    assert counted == {
        ("GET", "/v1/whoami", "200"): 1,
        ("GET", "/v1/workspaces/{workspace}", "200"): 1,
        ("GET", "/v1/workspaces/{workspace}", "404"): 1,
        ("other", "other", "404"): 1,
        ("other", "other", "405"): 1,
    }
    show = ("GET", "/v1/workspaces/{workspace}")
    assert found["argosy_request_seconds_count", *show] == 2
    assert 0 < found["argosy_request_seconds_sum", *show] < 30


async def test_a_request_that_asks_is_open(api: Api) -> None:
    assert (await read(api))["argosy_requests_open",] - here()["argosy_requests_open",] == 1


async def test_appends_are_counted_with_their_batches(api: Api) -> None:
    before = await read(api)
    await asyncio.gather(*(api.append(f"note-{n}", CLAIMED) for n in range(8)))
    after = await read(api)

    found = grown(before, after)
    assert found["argosy_events_written_total",] == 8
    assert found["argosy_append_batch_appends_sum",] == 8
    assert found["argosy_append_batch_appends_count",] < 8  # committed together
    assert found["argosy_append_seconds_count",] == 8
    assert found["argosy_log_position",] == 8


async def test_appends_that_are_refused_are_counted_by_why(api: Api) -> None:
    before = here()
    change = Change(stream="run-r", events=[CLAIMED], expected=7)
    for each in (change, Change(stream="run-r", events=[CLAIMED], attempt=3)):
        with pytest.raises(Exception, match="run-r"):
            await api.services.store.append([each], ME)

    found = grown(before, here())
    assert found["argosy_appends_refused_total", "version-conflict"] == 1
    assert found["argosy_appends_refused_total", "fenced"] == 1
    assert ("argosy_append_seconds_count",) not in found


async def test_runs_are_counted_by_how_they_end_where_that_is_appended(api: Api) -> None:
    before = here()
    started = RunStarted(run_id="r", attempt=1, sandbox="s", stages={"layers": 40.0, "sandbox": 70})
    ended = RunEnded(run_id="r", how="failed", reason="exit_nonzero", attempt=1)
    await api.append("run-r", CLAIMED, started, ended)

    found = grown(before, here())
    assert found["argosy_runs_ended_total", "failed", "exit_nonzero"] == 1
    assert found["argosy_run_stage_seconds_count", "layers"] == 1
    assert found["argosy_run_stage_seconds_sum", "sandbox"] == pytest.approx(0.07)


async def test_work_that_waits_and_that_somebody_holds(api: Api) -> None:
    leases, store = api.services.leases, api.services.store
    await leases.offer([Job("runs", "run-a-1", "run-a")], follower="t", position=0)
    for stream, seconds in (("run-b", 60.0), ("run-c", -1.0)):
        lease = TakeLease(owner="host-1", seconds=seconds)
        await store.append([Change(stream=stream, events=[CLAIMED], fence=1, lease=lease)], ME)

    found = await read(api)

    states = {key[1]: n for key, n in found.items() if key[0] == "argosy_work"}
    assert states == {"unclaimed": 1, "held": 1, "expired": 1}


async def test_followers_are_counted_while_they_follow(api: Api) -> None:
    hub = api.app.state.shared.hub
    before = here()
    async with aclosing(hub.follow("run-none", 0)) as frames:
        waiting = asyncio.ensure_future(anext(frames))
        while not hub.followers("run-none"):  # noqa: ASYNC110  # it comes with the next turns
            await asyncio.sleep(0)
        found = grown(before, here())
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    assert found["argosy_live_subscribers",] == 1
    assert found["argosy_live_streams",] == 1
    assert here()["argosy_live_subscribers",] == before["argosy_live_subscribers",]


async def test_a_page_without_a_database_says_so(api: Api) -> None:
    whole = await read(api)
    await api.services.store.close()
    await look(api.services.store, api.app.state.shared.reads)

    assert whole["argosy_metrics_complete",] == 1
    assert here()["argosy_metrics_complete",] == 0


async def test_every_role_may_read_it_with_a_key_for_everything(api: Api) -> None:
    viewer = await api.make_key("viewer")
    narrow = await api.make_key("admin", workspace="default")

    assert (await api.ask("GET", "/metrics", key=viewer)).status_code == 200
    assert (await api.ask("GET", "/metrics", key=narrow)).status_code == 403
    assert (await api.ask("GET", "/metrics", key=None)).status_code == 401


async def test_no_key_no_id_and_no_slug_is_on_the_page(api: Api) -> None:
    made = await api.deploy("a-rather-secret-name")
    run = await api.request_run("a-rather-secret-name")
    await api.ask("GET", f"/v1/runs/{run['id']}")
    text = (await api.ask("GET", "/metrics")).text

    for hidden in (KEY, "rather-secret", made["deployment"]["id"], run["id"], '"default"'):
        assert hidden not in text
