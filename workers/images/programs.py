"""What an image says of how it is run (OCI image configuration), and its files as mounts."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from domain.images import PORT
from workers.archives import LayerRefused
from workers.images.unpacking import CONFIG, ROOT
from workers.sandboxes.arguments import NAME
from workers.sandboxes.driver import Mount, Symlink

LABEL = "dev.argosy.protocol"  # `http` or `command`, where the exposed ports do not say it

# What every sandbox has of its own.
_OURS = frozenset({"dev", "proc", "run", "sys", "tmp"})
MAX_CONFIG_BYTES = 4 << 20


class _Words(Struct, rename="pascal"):
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    working_dir: str | None = None
    exposed_ports: dict[str, msgspec.Raw] | None = None
    labels: dict[str, str] | None = None


class ImageConfig(Struct):
    """An image's configuration, as far as it counts here."""

    architecture: str = ""
    os: str = ""
    config: _Words | None = None


class ImageProgram(Struct, frozen=True, kw_only=True):
    """What an image is started with. directory: empty for ours. port: 0 for a command."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = {}
    directory: str = ""
    port: int = 0


def read_config(data: bytes) -> ImageConfig:
    """Read an image's configuration. Raises LayerRefused."""
    try:
        return msgspec.json.decode(data, type=ImageConfig)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise LayerRefused(f"The image's configuration cannot be read: {error}") from None


def read_program(config: ImageConfig) -> ImageProgram:
    """Return what to start. Raises LayerRefused for an image that does not say."""
    words = config.config or _Words()
    argv = (*(words.entrypoint or ()), *(words.cmd or ()))
    if not argv:
        raise LayerRefused("The image names no program: it has neither ENTRYPOINT nor CMD.")
    directory = words.working_dir or ""
    if any("\0" in word for word in (*argv, directory, *(words.env or ()))):
        raise LayerRefused("The image's configuration has a NUL in what is started.")
    variables = [each.partition("=") for each in words.env or ()]
    environment = {name: value for name, _, value in variables if NAME.fullmatch(name)}
    protocol = (words.labels or {}).get(LABEL, "")
    if protocol not in ("", "http", "command"):
        raise LayerRefused(f"The image's label {LABEL} is {protocol!r}; it is http or command.")
    exposed = f"{PORT}/tcp" in (words.exposed_ports or {}) or str(PORT) in (
        words.exposed_ports or {}
    )
    speaks_http = protocol == "http" or (exposed and not protocol)
    return ImageProgram(
        argv=argv,
        environment=environment,
        directory=directory,
        port=PORT if speaks_http else 0,
    )


def program_in(image: Path) -> ImageProgram:
    """Return what to start of an unpacked image."""
    return read_program(read_config((image / CONFIG).read_bytes()))


def mounts_of(image: Path) -> tuple[tuple[Mount, ...], tuple[Symlink, ...]]:
    """Return an unpacked image's files, but for those that every sandbox has of its own."""
    mounts: list[Mount] = []
    symlinks: list[Symlink] = []
    with os.scandir(image / ROOT) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.name in _OURS:
                continue
            if entry.is_symlink():
                symlinks.append(Symlink(str(Path(entry.path).readlink()), f"/{entry.name}"))
            else:
                mounts.append(Mount(entry.path, f"/{entry.name}"))
    return tuple(mounts), tuple(symlinks)
