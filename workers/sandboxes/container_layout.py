"""What a container is made of: an image that holds links only, and mounts for all the rest.

Engines sort mounts by depth, make mount points only in what can be written, and put files of their
own into /etc; what is here makes a Spec of that, with the order and the covering bubblewrap has.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from workers.sandboxes.arguments import SHARED_MEMORY, TEMPORARY
from workers.sandboxes.driver import (
    GATEWAY_DIRECTORY,
    SandboxUnsupported,
    Spec,
    Symlink,
)

REPOSITORY = "localhost/argosy/sandbox"
PIPES = "/run/argosy-pipes"
MAX_ENTRIES = 1000  # of a directory whose entries must be mounted one by one
# What cannot be in a path: engines take mounts as words with commas and colons between them.
FORBIDDEN = frozenset(',:"\n\r')
# Both engines put these there, whatever an image has; podman also a tmpfs of any size on /var/tmp.
ENGINES_FILES = ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
USERS = "/etc/passwd"
USER_LINE = "sandbox:x:{uid}:{uid}::/tmp:/bin/sh\n"  # programs ask who they are

type Kind = Literal["layer", "bind", "writable", "tmpfs", "engine"]


class Shown(Struct, frozen=True):
    """One mount. source: on the host; empty for a tmpfs, and for the engine's own."""

    kind: Kind
    source: str
    target: str
    size_mb: int = 0


class Layout(Struct, frozen=True):
    """What to mount, each target once and none that is covered, and the links of the image."""

    mounts: tuple[Shown, ...]
    symlinks: tuple[Symlink, ...]


class Folder:
    """A sandbox's directory on the host: its pipes, the small files, and what /run shows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pipes = path / "pipes"
        self.run = path / "run"
        self.empty = path / "empty"
        self.nothing = path / "nothing"
        self._system = path / "sys"
        self._files = path / "files"

    def make(self) -> None:
        """Make it, readable for the sandbox's uid. Raises OSError."""
        for folder in (self.path, self.pipes, self.run, self.empty, self._files):
            folder.mkdir()
        # The kernel's devices are not shown; engines want to mount control groups there.
        (self._system / "fs/cgroup").mkdir(parents=True)
        self.nothing.touch()
        _let_in(self.path)

    @property
    def system(self) -> Path:
        """What /sys shows."""
        return self._system

    def write(self, files: Mapping[str, str]) -> dict[str, str]:
        """Write small files; return where each is by its path inside."""
        places: dict[str, str] = {}
        for number, (path, text) in enumerate(files.items()):
            place = self._files / str(number)
            place.write_text(text)
            place.chmod(0o644)
            places[path] = str(place)
        return places

    def fill_run(self, layout: Layout) -> None:
        """Make the mount points and links below /run: it is shown read-only."""
        for link in layout.symlinks:
            if (place := self._below_run(link.path)) is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(link.target)
        for mount in layout.mounts:
            place = self._below_run(mount.target)
            if place is None or place == self.run:
                continue
            if mount.source and not Path(mount.source).is_dir():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            else:
                place.mkdir(parents=True, exist_ok=True)
        _let_in(self.run)

    def _below_run(self, path: str) -> Path | None:
        return self.run / Path(path).relative_to("/run") if is_below(path, "/run") else None


def _let_in(folder: Path) -> None:
    """Let every uid read it and what is below, whatever umask we were started with."""
    for above, _, files in os.walk(folder):
        Path(above).chmod(0o755)
        for file in files:
            if not (place := Path(above, file)).is_symlink():
                place.chmod(0o644)


def lay_out(spec: Spec, folder: Folder, uid: int, *, podman: bool) -> Layout:
    """Return what the container of a Spec shows. Raises SandboxUnsupported."""
    mounts: dict[str, Shown] = {}

    def show(each: Shown) -> None:
        for covered in [path for path in mounts if is_below(path, each.target)]:
            del mounts[covered]
        mounts[each.target] = each

    show(Shown("bind", str(folder.run), "/run"))
    for layer in spec.layers:
        show(Shown("layer", layer.source, _plain(layer.target)))
    for path in spec.hidden:
        show(Shown("bind", str(folder.empty), _plain(path)))
    files = dict(spec.files)
    if USERS in files:
        files[USERS] += USER_LINE.format(uid=uid)
    for path, place in folder.write(files).items():
        show(Shown("bind", place, _plain(path)))
    for mount in _of_every_sandbox(spec, folder, podman=podman):
        show(mount)
    for path in ENGINES_FILES:
        if path not in mounts:
            show(Shown("bind", _layers_file(mounts.values(), path) or str(folder.nothing), path))
    ours = tuple(mount for mount in mounts.values() if mount.kind != "engine")
    layout = _with_mount_points(ours, spec.symlinks)
    for mount in layout.mounts:
        _check(mount)
    folder.fill_run(layout)
    return layout


def image_of(symlinks: Iterable[Symlink]) -> tuple[str, bytes]:
    """Return the name and the archive (as `docker load` takes it) of an image with links only.

    The name holds the digest of the content, so the same links are always the same image.
    """
    links = {link.path.strip("/"): link.target for link in symlinks}
    layer = _tar(dict(sorted(links.items())), {})
    layer_digest = hashlib.sha256(layer).hexdigest()
    config = msgspec.json.encode(
        {
            "os": "linux",
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        }
    )
    digest = hashlib.sha256(config).hexdigest()
    name = f"{REPOSITORY}:{digest[:32]}"
    content = {"Config": f"{digest}.json", "RepoTags": [name], "Layers": [f"{layer_digest}.tar"]}
    files = {
        f"{layer_digest}.tar": layer,
        f"{digest}.json": config,
        "manifest.json": msgspec.json.encode([content]),
    }
    return name, _tar({}, files)


def is_below(path: str, above: str) -> bool:
    """Whether a path is another one, or below it."""
    return path == above or path.startswith(f"{above}/")


def _check(mount: Shown) -> None:
    if FORBIDDEN & {*mount.source, *mount.target}:
        words = f"{mount.source} at {mount.target}: a comma, colon or quote cannot be passed."
        raise SandboxUnsupported(words)
    if mount.source and not Path(mount.source).exists():  # some engines would make it
        raise SandboxUnsupported(f"There is no {mount.source} to show.")


def _of_every_sandbox(spec: Spec, folder: Folder, *, podman: bool) -> Iterator[Shown]:
    for path in ("/proc", "/dev", SHARED_MEMORY):
        yield Shown("engine", "", path)
    yield Shown("bind", str(folder.empty), "/dev/mqueue")
    yield Shown("bind", str(folder.system), "/sys")
    yield Shown("bind", str(folder.empty), "/sys/fs/cgroup")
    if podman:
        yield Shown("bind", str(folder.empty), "/var/tmp")  # noqa: S108 - a path inside
    yield Shown("tmpfs", "", TEMPORARY, spec.tmp_mb)
    yield Shown("tmpfs", "", _plain(spec.working_directory), spec.limits.disk_mb)
    for mount in spec.writable:
        yield Shown("writable", mount.source, _plain(mount.target))
    if spec.gateway is not None:
        yield Shown("bind", spec.gateway, GATEWAY_DIRECTORY)
    yield Shown("bind", str(folder.pipes), PIPES)


def _layers_file(mounts: Iterable[Shown], path: str) -> str | None:
    """Where a layer has a plain file of that path."""
    above = [each for each in mounts if each.kind == "layer" and is_below(path, each.target)]
    if not above:
        return None
    deepest = max(above, key=lambda each: len(each.target))
    source = deepest.source + path[len(deepest.target) :]
    return source if Path(source).is_file() and not Path(source).is_symlink() else None


def _with_mount_points(mounts: tuple[Shown, ...], symlinks: Iterable[Symlink]) -> Layout:
    """Show a layer's entries one by one where it lacks a mount point: no engine can make one."""
    points = [mount.target for mount in mounts]
    shown: list[Shown] = []
    links = list(symlinks)
    for mount in mounts:
        if mount.kind == "layer":
            for each in _opened(mount, points):
                if isinstance(each, Symlink):
                    links.append(each)
                else:
                    shown.append(each)
        else:
            shown.append(mount)
    return Layout(tuple(shown), tuple(links))


def _opened(layer: Shown, points: list[str]) -> Iterator[Shown | Symlink]:
    below = [path for path in points if path != layer.target and is_below(path, layer.target)]
    if all(_has(layer.source + path[len(layer.target) :]) for path in below):
        yield layer
        return
    names = sorted(os.listdir(layer.source))  # noqa: PTH208 - names are enough
    if len(names) > MAX_ENTRIES:
        words = f"{layer.target} of {layer.source} lacks a mount point, and has too many entries."
        raise SandboxUnsupported(words)
    for name in names:
        source, target = f"{layer.source}/{name}", f"{layer.target}/{name}"
        if target in below:
            continue
        if Path(source).is_symlink():
            yield Symlink(str(Path(source).readlink()), target)
        else:
            yield from _opened(Shown("layer", source, target), below)


def _has(path: str) -> bool:
    return os.path.lexists(path) and not Path(path).is_symlink()


def _plain(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _tar(links: Mapping[str, str], files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, target in links.items():
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return archive.getvalue()
