"""Removing what killed workers left on this machine: half-made files and directories, sandboxes."""

import asyncio
from pathlib import Path

import structlog

from adapters.blobs import BlobStore
from adapters.scratch import sweep_scratch
from adapters.settings import Settings
from adapters.wiring import open_blobs
from domain.errors import Unavailable
from workers.layers import LayerCache
from workers.sandboxes.cgroups import Cgroups, detect
from workers.sandboxes.orphans import sweep_orphans
from workers.workshops import cache_directory

log = structlog.stdlib.get_logger(__name__)


async def sweep_folders(blobs: BlobStore, layers: LayerCache, *scratches: Path) -> None:
    """Remove what is half made and has no living maker. Raises Unavailable."""
    swept = await blobs.sweep() + await layers.sweep()
    for folder in scratches:
        swept += await asyncio.to_thread(sweep_scratch, folder)
    if swept:
        log.info("scratch.swept", left_by_dead_workers=swept)


async def sweep_sandboxes(cgroups: Cgroups | None) -> None:
    """Destroy what is left of sandboxes whose owner is dead."""
    for name in await sweep_orphans(cgroups):
        log.warning("sandbox.orphan_destroyed", sandbox=name)


def sweep_after_builds(settings: Settings) -> None:
    """Remove what build workers of this machine left. Never raises for a store that is away.

    For a process without an event loop; no thread of it is left afterwards.
    """
    asyncio.run(_sweep_after_builds(settings))


async def _sweep_after_builds(settings: Settings) -> None:
    blobs = open_blobs(settings)
    try:
        await sweep_folders(blobs, LayerCache(cache_directory(settings), blobs))
        await sweep_sandboxes(detect(settings.cgroups))
    except Unavailable as error:
        log.warning("builds.not_swept", error=error.detail)
