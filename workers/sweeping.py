"""Removing what killed workers left on this machine: half-made files and directories, sandboxes."""

import asyncio
from pathlib import Path

import structlog

from adapters.blobs import BlobStore
from adapters.scratch import sweep_scratch
from workers.layers import LayerCache
from workers.sandboxes.cgroups import Cgroups
from workers.sandboxes.orphans import sweep_orphans

SANDBOXES_EVERY_SECONDS = 15.0
TRIM_EVERY_SECONDS = 300.0

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


async def keep_swept(
    blobs: BlobStore, layers: LayerCache, cgroups: Cgroups | None, *scratches: Path
) -> None:
    """Sweep folders once, and sandboxes every now and then, until cancelled."""
    await sweep_folders(blobs, layers, *scratches)
    while True:
        await sweep_sandboxes(cgroups)
        await asyncio.sleep(SANDBOXES_EVERY_SECONDS)


async def keep_trimmed(layers: LayerCache) -> None:
    """Keep the layers of this machine within their limit, until cancelled."""
    while True:
        await layers.trim()
        await asyncio.sleep(TRIM_EVERY_SECONDS)
