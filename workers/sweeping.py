"""Removing what killed workers left on this machine: half-made files and directories, sandboxes."""

import asyncio
from pathlib import Path

import structlog

from adapters.blobs import BlobStore
from adapters.scratch import sweep_scratch
from workers.layers import LayerCache
from workers.sandboxes.driver import Driver, SandboxUnsupported

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


async def sweep_sandboxes(driver: Driver) -> None:
    """Destroy what is left of sandboxes whose owner is dead."""
    try:
        for name in await driver.sweep():
            log.warning("sandbox.orphan_destroyed", sandbox=name)
    except SandboxUnsupported as error:  # an engine that does not answer now may do so later
        log.warning("sandbox.not_swept", error=error.detail)


async def keep_swept(
    blobs: BlobStore, layers: LayerCache, driver: Driver, *scratches: Path
) -> None:
    """Sweep folders once, and sandboxes every now and then, until cancelled."""
    await sweep_folders(blobs, layers, *scratches)
    while True:
        await sweep_sandboxes(driver)
        await asyncio.sleep(SANDBOXES_EVERY_SECONDS)


async def keep_trimmed(layers: LayerCache) -> None:
    """Keep the layers of this machine within their limit, until cancelled."""
    while True:
        await layers.trim()
        await asyncio.sleep(TRIM_EVERY_SECONDS)
