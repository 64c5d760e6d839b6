"""Keeping a build from filling the disk: its directories on the host have no size of their own."""

import asyncio
import os
import shutil
from pathlib import Path

from workers.sandboxes.driver import Sandbox

LOOK_SECONDS = 0.5
LEAVE_FREE_MB = 256


class Quota:
    """Kills a sandbox that writes more than it may; `reached` then says what was too much.

    It looks twice a second, so what was written in between is over the limit for that long.
    """

    def __init__(self, tree: Path | None, disk: Path, max_mb: int) -> None:
        self.reached = ""
        self._tree = tree
        self._disk = disk
        self._max_mb = max_mb

    async def watch(self, sandbox: Sandbox) -> None:
        """Look until it is reached or we are cancelled."""
        while not self.reached:
            await asyncio.sleep(LOOK_SECONDS)
            self.reached = await asyncio.to_thread(self._look)
        await sandbox.kill()

    def _look(self) -> str:
        if shutil.disk_usage(self._disk).free >> 20 < LEAVE_FREE_MB:
            return f"The build machine has less than {LEAVE_FREE_MB} MB of disk left."
        if self._tree is not None and _size(self._tree) >> 20 >= self._max_mb:
            return f"The packages take more than the {self._max_mb} MB that a layer may have."
        return ""


def _size(tree: Path) -> int:
    """Return the bytes of a tree that somebody is writing to. Links are not followed."""
    total = 0
    for _, _, files, folder in os.fwalk(tree):
        for name in files:
            try:
                total += os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
    return total
