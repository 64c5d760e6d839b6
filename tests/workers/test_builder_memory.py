"""What builders remember, for how long, and that they forget nothing that somebody works on."""

import asyncio
import fcntl
import os
import re
import time
from pathlib import Path
from typing import IO

import pytest

from tests.test_shape import ROOT
from workers.builder.memory import KEEP_SECONDS, KINDS, alone, forget, recall, remember

KIND = "overlays"


def grow_old(directory: Path, seconds: float) -> None:
    """Have everything be as old as this."""
    then = time.time() - seconds
    for path in directory.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def remembered(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / KIND).iterdir())


def test_what_nobody_asks_for_is_forgotten(tmp_path: Path) -> None:
    async def work() -> None:
        await remember(tmp_path, KIND, "old", b"1")
        async with alone(tmp_path, KIND, "old"):
            pass
        grow_old(tmp_path, KEEP_SECONDS + 60)
        await remember(tmp_path, KIND, "new", b"2")

    (tmp_path / "scratch").mkdir()
    asyncio.run(work())

    assert forget(tmp_path) == 2
    assert remembered(tmp_path) == ["new"]
    assert asyncio.run(recall(tmp_path, KIND, "old")) is None


def test_what_somebody_asks_for_now_and_then_is_kept(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    asyncio.run(remember(tmp_path, KIND, "key", b"1"))
    grow_old(tmp_path, KEEP_SECONDS - 60)

    asyncio.run(recall(tmp_path, KIND, "key"))

    assert forget(tmp_path, KEEP_SECONDS - 600) == 0
    assert remembered(tmp_path) == ["key"]


async def test_nobody_is_alone_twice(tmp_path: Path) -> None:
    """Also where the lock is forgotten while one has it, or after."""
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        async with alone(tmp_path, KIND, "key"):
            inside += 1
            most = max(most, inside)
            grow_old(tmp_path, KEEP_SECONDS + 60)
            await asyncio.to_thread(forget, tmp_path)
            inside -= 1
        grow_old(tmp_path, KEEP_SECONDS + 60)
        await asyncio.to_thread(forget, tmp_path)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(work())

    assert most == 1


async def test_a_lock_that_is_forgotten_before_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its opening and its taking, where nothing waits: so the kernel is made to."""
    path, take = tmp_path / KIND / "key.lock", fcntl.flock
    gone: list[int] = []

    def flock(file: IO[str], how: int) -> None:
        if not gone:
            gone.append(path.stat().st_ino)
            path.unlink()
        take(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)

    async with asyncio.timeout(30), alone(tmp_path, KIND, "key"):
        assert gone
        assert path.exists()


def test_every_kind_is_forgotten() -> None:
    said = {
        found[1]
        for path in (ROOT / "workers").rglob("*.py")
        if "workers.builder.memory" in (text := path.read_text())
        and (found := re.search(r'^KIND = "(\w+)"', text, re.MULTILINE))
    }

    assert said == KINDS
