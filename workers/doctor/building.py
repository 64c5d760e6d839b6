"""What builds need beside a sandbox: settings that can be read, an index, maybe an engine."""

import asyncio
import os
from urllib.parse import urlsplit

from adapters.engines import open_engine
from adapters.settings import Settings
from domain.errors import Invalid, Unavailable
from workers.builder.door.connections import connect_directly, connect_through, place_of
from workers.builder.door.doors import why
from workers.builder.door.requests import Asked, spelled
from workers.builder.indexes import PackageIndex, Place, find_index, index_urls
from workers.doctor.findings import Finding, broken, doubtful, good
from workers.images.pushing import check_registry

INDEX_SECONDS = 5.0  # for each of its hosts
ENGINE_SECONDS = 5.0

_NO_BUILD_WORKER = "Build workers do not start before."
_NO_INDEX = (
    "Agents whose packages are not here yet cannot be built: let this machine reach it, or name a "
    "mirror or a folder of wheels in ARGOSY_PACKAGE_INDEX."
)
_NO_ENGINE = (
    "Sources with a Dockerfile, apt.txt or another Python cannot be built: start the engine, let "
    "this user use its socket, or unset ARGOSY_ENGINE."
)


async def look_at_builds(settings: Settings) -> list[Finding]:
    """Return what is to be said of building here."""
    found: list[Finding] = []
    try:
        check_registry(settings)
    except Invalid as error:
        found.append(broken("registry", error.detail, _NO_BUILD_WORKER))
    try:
        index = find_index(settings.package_index, os.environ, settings.index_file_hosts)
    except Invalid as error:
        found.append(broken("index", error.detail, _NO_BUILD_WORKER))
    else:
        found.append(await _index(index))
    if settings.engine and settings.sandbox_driver != "container":
        found.append(await _engine(settings.engine))
    return found


async def _index(index: PackageIndex) -> Finding:
    """Connect to its hosts as the door of a build does; nothing is asked for there."""
    if not index.places:
        return good("index", f"a folder of wheels, {index.mounts[0].source}")
    places = sorted(index.places)
    away = dict.fromkeys(await asyncio.gather(*(_reach(index, place) for place in places)))
    if any(away):
        return doubtful("index", "; ".join(filter(None, away)), _NO_INDEX)
    return good("index", f"{', '.join(map(spelled, places))} can be connected to")


async def _reach(index: PackageIndex, place: Place) -> str:
    """Return why a place cannot be reached; nothing if it can."""
    scheme = _scheme(index, place)
    proxy = index.proxy(scheme, place)
    try:
        async with asyncio.timeout(INDEX_SECONDS):
            if proxy and scheme == "https":
                opened = connect_through(proxy, Asked(place))
            else:
                opened = connect_directly(Asked(place_of(proxy) if proxy else place))
            _, writer = await opened
    except OSError as error:
        return (
            f"{spelled(place_of(proxy) if proxy else place)} cannot be connected to: {why(error)}"
        )
    writer.transport.abort()
    return ""


def _scheme(index: PackageIndex, place: Place) -> str:
    urls = [urlsplit(url) for _, url in index_urls(index.environment)]
    return next((url.scheme for url in urls if url.hostname == place[0]), "https")


async def _engine(url: str) -> Finding:
    try:
        async with asyncio.timeout(ENGINE_SECONDS), open_engine(url):
            return good("engine", f"it answers, and builds what needs its own environment ({url})")
    except TimeoutError:
        detail = f"it says nothing for {ENGINE_SECONDS:g} s ({url})"
    except Unavailable as error:
        detail = error.detail
    return broken("engine", detail, _NO_ENGINE)
