"""What a machine runs agents and builds them with, put together once per process."""

import os
from pathlib import Path

from msgspec.structs import replace

from adapters import bases as judged_bases
from adapters.base_locks import read_lock
from adapters.pins import Pinned
from adapters.settings import Settings
from adapters.wiring import Services
from domain.execution import Base
from domain.ports import Blobs
from workers.builder.indexes import find_index
from workers.builder.tools import BuildTools
from workers.harnesses.runtimes import write_runtime
from workers.images.pushing import check_registry
from workers.layers import LayerCache
from workers.plans import Stage, Workshop
from workers.pool import Pool
from workers.sandboxes import bases
from workers.sandboxes.driver import Driver
from workers.sandboxes.drivers import choose, prepare
from workers.sandboxes.namespaces import Paths


def prepare_machine(settings: Settings) -> Paths:
    """Make what sandboxes mount reachable for them. To be called before any thread is started."""
    settings.data.mkdir(parents=True, exist_ok=True)
    layers = [mount.source for base in bases.find_bases(settings.pythons) for mount in base.layers]
    directories = [settings.data.absolute(), *map(Path, dict.fromkeys(layers))]
    return prepare(directories, settings.sandbox_driver)


def describe_machine(settings: Settings, paths: Paths) -> str:
    """Return in one line what runs and builds are walled off with here, and where that ends.

    Raises SandboxUnsupported where nothing can be run, and Invalid for a setting of builds.
    """
    driver = driver_of(settings, paths)
    bases.find_base()
    check_registry(settings)
    find_index(settings.package_index, os.environ, settings.index_file_hosts)
    if driver.scope == "sandbox":
        return f"{driver.name}; limits hold for a whole sandbox"
    return (
        f"{driver.name}; there are no control groups that this user may use, so memory is limited "
        "for each process by itself, and cpu is not limited"
    )


def open_workshop(services: Services, paths: Paths) -> Workshop:
    """Return what runs are done with. Raises SandboxUnsupported where nothing can be run."""
    settings = services.settings
    plain = judged_bases.find_base(settings.pythons)
    stages = [
        Stage(base=base, runtime=str(write_runtime(cache_directory(settings), base.python)))
        for base in bases.find_bases(settings.pythons)
    ]
    driver = driver_of(settings, paths)
    pool = Pool(driver, places_scratch(settings), settings.warm_sandboxes)
    return Workshop(
        pool=pool,
        layers=open_layers(services),
        stages={
            name: stage
            for judged, stage in zip((plain, *plain.others), stages, strict=True)
            for name in (judged.name, *(each.name for each in judged.frameworks))
        }
        | ({plain.node: stages[0]} if plain.node and driver.scope == "sandbox" else {}),
        scope=settings.limit_scope,
    )


def places_scratch(settings: Settings) -> Path:
    """Return where the directories are that sandboxes of runs show."""
    return settings.data.absolute() / "places"


def open_tools(settings: Settings, blobs: Blobs, paths: Paths) -> BuildTools:
    """Return what builds are done with. Raises SandboxUnsupported, and Invalid for a setting."""
    check_registry(settings)
    plain = judged_bases.find_base(settings.pythons)
    pythons = bases.find_bases(settings.pythons)
    tools = BuildTools(
        base=plain,
        python=pythons[0],
        locks=_locks(plain),
        layers=_layers(settings, blobs),
        blobs=blobs,
        driver=driver_of(settings, paths),
        index=find_index(settings.package_index, os.environ, settings.index_file_hosts),
        scope=settings.limit_scope,
        settings=settings,
    )
    others = {
        base.name: replace(tools, base=base, python=python, locks=_locks(base))
        for base, python in zip(plain.others, pythons[1:], strict=True)
    }
    return replace(tools, others=others)


def _locks(plain: Base) -> dict[str, tuple[Pinned, ...]]:
    """Return the packages of a plain base's frameworks by the names of their bases."""
    return {
        each.name: read_lock(each.name.removesuffix(f"-{plain.name}"), plain.python)
        for each in plain.frameworks
    }


def open_layers(services: Services) -> LayerCache:
    """Return this machine's layers, below the data directory."""
    return _layers(services.settings, services.blobs)


def _layers(settings: Settings, blobs: Blobs) -> LayerCache:
    return LayerCache(cache_directory(settings), blobs, limit_mb=settings.layer_cache_mb)


def driver_of(settings: Settings, paths: Paths) -> Driver:
    """Return what opens sandboxes by these settings. Raises SandboxUnsupported."""
    return choose(
        paths,
        driver=settings.sandbox_driver,
        engine=settings.engine,
        uids=settings.sandbox_uids or None,
        groups=settings.cgroups,
    )


def cache_directory(settings: Settings) -> Path:
    """Return where layers are, and what builders remember."""
    return settings.data.absolute() / "cache"
