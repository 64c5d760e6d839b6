"""Clients: they deploy, run, cancel, follow and list, and ask until they are answered."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx

from tests.chaos.evidence import Answered, Followed, Peeked, Sent
from tests.chaos.installation import Installation
from tests.chaos.plan import Wish
from tests.chaos.programs import PROGRAMS, Program, built_source

MOST_RUNS = 5  # under way at once
PACE_SECONDS = 0.25
ANSWER_SECONDS = 4.0
AGAIN_SECONDS = 0.25
SILENCE_SECONDS = 20.0
GIVE_UP_SECONDS = 90.0
LIMITS = {"memory_mb": 128, "disk_mb": 16, "seconds": 120, "pids": 32}


class Workspace:
    """A workspace with keys of its own: one deploys and runs, one reads its log."""

    def __init__(self, id: str, slug: str, key: str, auditor: str) -> None:
        self.id = id
        self.slug = slug
        self.key = key
        self.auditor = auditor
        self.runs: list[str] = []


class Clients:
    """Everybody who uses the installation, and what they saw."""

    def __init__(self, installation: Installation, wishes: Iterator[Wish]) -> None:
        self.sent: list[Sent] = []
        self.followed: list[Followed] = []
        self.peeked: list[Peeked] = []
        self._installation = installation
        self._wishes = wishes
        self._workspaces: list[Workspace] = []
        self._slots = asyncio.Semaphore(MOST_RUNS)
        self._working: set[asyncio.Task[None]] = set()
        self._following: list[asyncio.Task[None]] = []
        self._logs: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
        self._http = httpx.AsyncClient(
            base_url=installation.url, timeout=ANSWER_SECONDS, limits=limits
        )

    async def prepare(self) -> None:
        """Make two workspaces, their keys, and deploy every program in both."""
        for slug in ("chaos-a", "chaos-b"):
            made = await self._admin("/v1/workspaces", {"slug": slug})
            keys = [
                await self._admin("/v1/keys", {"name": role, "role": role, "workspace": slug})
                for role in ("deployer", "auditor")
            ]
            workspace = Workspace(made["id"], slug, keys[0]["key"], keys[1]["key"])
            self._workspaces.append(workspace)
            log = Followed(stream="", workspace_id=workspace.id)
            self.followed.append(log)
            self._logs.append(asyncio.create_task(self._follow_log(workspace, log)))
            for program in PROGRAMS.values():
                await self._deploy(workspace, program, f"first-{slug}-{program.name}")

    async def run(self) -> None:
        """Ask for one thing after the other, until `stop`."""
        for wish in self._wishes:
            if self._over.is_set():
                return
            await self._slots.acquire()
            self._start(self._do(wish))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), PACE_SECONDS)

    async def stop(self, seconds: float) -> None:
        """Ask for no more; return when all that was asked for was answered and seen to its end."""
        self._over.set()
        if self._working:
            await asyncio.wait(self._working, timeout=seconds)
        if self._following:
            await asyncio.wait(self._following, timeout=seconds)

    async def close(self) -> None:
        """Hang up."""
        tasks = [*self._working, *self._following, *self._logs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    async def follow_to_the_end(self, seconds: float) -> None:
        """Wait until the followers of the logs have seen all that there is of their workspace's."""
        for workspace, seen in zip(self._workspaces, self._log_followers(), strict=True):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    last = await self._last_position(workspace)
                    while not seen.frames or seen.frames[-1][0] < last:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)

    def _log_followers(self) -> list[Followed]:
        return [each for each in self.followed if not each.stream]

    async def _last_position(self, workspace: Workspace) -> int:
        """Return where the log has something of this workspace's for the last time."""
        headers = {"Authorization": f"Bearer {workspace.auditor}"}
        after, last = 0, 0
        while True:
            given = {"after": after, "limit": 1000}
            answer = await self._http.get("/v1/events", params=given, headers=headers, timeout=30)
            page = answer.json()
            last = page["items"][-1]["position"] if page["items"] else last
            if page["next_after"] is None:
                return last
            after = page["next_after"]

    # -- what is asked for

    async def _do(self, wish: Wish) -> None:
        workspace = self._workspaces[wish.workspace]
        try:
            match wish.kind:
                case "deploy":
                    program = PROGRAMS[wish.program]
                    await self._deploy(workspace, program, f"deploy-{wish.number}", wish)
                    await self._peek(workspace)
                case "build":
                    await self._build(workspace, wish)
                case _:
                    await self._run_one(workspace, wish, wish.program)
        finally:
            self._slots.release()

    async def _deploy(
        self, workspace: Workspace, program: Program, key: str, wish: Wish | None = None
    ) -> None:
        body = {
            "name": program.name,
            "source": {"files": program.source(wish.number if wish else 0)},
            "limits": LIMITS,
            "max_attempts": 20 if program.idempotent else 1,
        }
        await self._send(workspace, "deploy", key, "deployments", body, wish=wish)

    async def _build(self, workspace: Workspace, wish: Wish) -> None:
        """Deploy something that has to be built, and run it at once: the run waits."""
        files, requirements = built_source(wish.number)
        name = f"built-{wish.number}"
        body = {
            "name": name,
            "source": {"files": files, "requirements": requirements},
            "limits": LIMITS,
            "max_attempts": 20,
        }
        key = f"build-{wish.number}"
        sent = await self._send(workspace, "deploy", key, "deployments", body, wish=wish)
        if sent.acknowledged:
            if sent.acknowledged.build:
                self._follow(workspace, f"build-{sent.acknowledged.build}", wish.hang_up_after)
            await self._run_one(workspace, wish, "built", name)

    async def _run_one(
        self, workspace: Workspace, wish: Wish, program: str, deployment: str = ""
    ) -> None:
        path = f"deployments/{deployment or program}/runs"
        body = {"message": f"wish {wish.number}"}
        sent = await self._send(
            workspace, "run", f"run-{wish.number}", path, body, program=program, wish=wish
        )
        if sent.acknowledged is None:
            return
        run_id = sent.acknowledged.id
        workspace.runs.append(run_id)
        for _ in range(wish.subscribers):
            self._follow(workspace, f"run-{run_id}", wish.hang_up_after)
        watching = self._follow(workspace, f"run-{run_id}", 1000)
        if wish.cancel_after:
            await asyncio.wait([watching], timeout=wish.cancel_after)
            path = f"/v1/runs/{run_id}/cancel"
            key = f"cancel-{wish.number}"
            await self._send(workspace, "cancel", key, path, {}, subject=run_id)
        await asyncio.wait([watching], timeout=GIVE_UP_SECONDS)

    async def _send(
        self,
        workspace: Workspace,
        kind: str,
        key: str,
        path: str,
        body: dict[str, Any],
        *,
        program: str = "",
        subject: str = "",
        wish: Wish | None = None,
    ) -> Sent:
        """Send a command until it is answered, always under the same key."""
        sent = Sent(key=key, kind=kind, workspace_id=workspace.id, program=program, subject=subject)
        self.sent.append(sent)
        if not path.startswith("/"):
            path = f"/v1/workspaces/{workspace.slug}/{path}"
        if wish and wish.twice:
            await asyncio.gather(*(self._post(workspace, sent, path, body) for _ in range(2)))
        else:
            await self._post(workspace, sent, path, body)
        if wish and wish.again:
            await self._post(workspace, sent, path, body)
        return sent

    async def _post(
        self, workspace: Workspace, sent: Sent, path: str, body: dict[str, Any]
    ) -> None:
        headers = {"Authorization": f"Bearer {workspace.key}", "Idempotency-Key": sent.key}
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while True:
                    try:
                        answer = await self._http.post(path, json=body, headers=headers)
                    except httpx.TransportError:
                        sent.broken += 1
                    else:
                        sent.answers.append(_answered(answer))
                        if not _is_to_be_repeated(answer):
                            return
                    await asyncio.sleep(AGAIN_SECONDS)

    async def _peek(self, workspace: Workspace) -> None:
        """Try to see what is not this workspace's."""
        other = next(each for each in self._workspaces if each is not workspace)
        headers = {"Authorization": f"Bearer {workspace.key}"}
        paths = [f"/v1/workspaces/{other.slug}/runs"]
        if other.runs:
            paths += [f"/v1/runs/{other.runs[-1]}", f"/v1/runs/{other.runs[-1]}/events"]
        for path in paths:
            with suppress(httpx.TransportError):
                answer = await self._http.get(path, headers=headers)
                self.peeked.append(Peeked(path=path, status=answer.status_code))
        path = f"/v1/workspaces/{workspace.slug}/runs"
        with suppress(httpx.TransportError):
            answer = await self._http.get(path, params={"limit": 200}, headers=headers)
            if answer.status_code == 200:
                foreign = [
                    each["id"]
                    for each in answer.json()["items"]
                    if each["workspace_id"] != workspace.id
                ]
                self.peeked.append(Peeked(path=path, foreign=foreign))

    # -- following

    def _follow(self, workspace: Workspace, stream: str, hang_up_after: int) -> asyncio.Task[None]:
        seen = Followed(stream=stream, workspace_id=workspace.id)
        self.followed.append(seen)
        task = asyncio.create_task(self._follow_run(workspace, seen, hang_up_after))
        self._following.append(task)
        return task

    async def _follow_run(self, workspace: Workspace, seen: Followed, hang_up_after: int) -> None:
        category, _, id = seen.stream.partition("-")
        path = f"/v1/{category}s/{id}/events"
        while not seen.done:
            await self._read(workspace.key, path, seen, hang_up_after)

    async def _follow_log(self, workspace: Workspace, seen: Followed) -> None:
        while True:
            await self._read(workspace.auditor, "/v1/events", seen, 10_000)

    async def _read(self, key: str, path: str, seen: Followed, most: int) -> None:
        """Read one connection to its end, or to `most` frames."""
        headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"}
        if seen.frames:
            headers["Last-Event-ID"] = str(seen.frames[-1][0])
        timeout = httpx.Timeout(ANSWER_SECONDS, read=SILENCE_SECONDS)
        before = len(seen.frames)
        try:
            async with self._http.stream("GET", path, headers=headers, timeout=timeout) as answer:
                if answer.status_code != 200:
                    await asyncio.sleep(AGAIN_SECONDS)
                    return
                seen.connections += 1
                id, data = "", ""
                async for line in answer.aiter_lines():
                    field, _, value = line.partition(":")
                    if field == "id":
                        id = value.strip()
                    elif field == "data":
                        data = value.strip()
                    elif not line and id:
                        seen.frames.append((int(id), json.loads(data)))
                        seen.done = bool(seen.stream) and seen.frames[-1][1]["type"] == "complete"
                        if seen.done or len(seen.frames) - before >= most:
                            return
                        id = data = ""
        except httpx.TransportError:
            await asyncio.sleep(AGAIN_SECONDS)

    # -- the rest

    async def _admin(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._installation.key}"}
        answer = await self._http.post(path, json=body, headers=headers, timeout=30)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)


def _is_to_be_repeated(answer: httpx.Response) -> bool:
    in_use = answer.status_code == 409 and "in use by" in answer.text
    return in_use or answer.status_code == 429 or answer.status_code >= 500


def _answered(answer: httpx.Response) -> Answered:
    """Return what an answer says."""
    if answer.status_code >= 300:
        return Answered(status=answer.status_code)
    body = answer.json()
    if "deployment" not in body:
        return Answered(status=answer.status_code, id=body["id"])
    id = f"{body['deployment']['id']}@{body['revision']}"
    return Answered(status=answer.status_code, id=id, build=body["build_id"] or "")
