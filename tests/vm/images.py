"""What a virtual machine starts from: Debian's kernel, and a small file system that finds the rest.

Its file system is not copied: it is this machine's, shown read-only, under a layer of memory that
takes what is written. So tests run there as they are in this checkout, with this Python.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

META_PACKAGE = "linux-image-amd64"  # not the kernel for clouds: that cannot show a file system
SHELL_PACKAGE = "busybox-static"
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
HERE = Path(__file__).parent


class Parts(Struct, frozen=True):
    """kernel: the file to boot. modules: what it must load, in this order. busybox: one program."""

    kernel: Path
    modules: tuple[Path, ...]
    busybox: Path


def find_parts(cache: Path) -> Parts:
    """From `cache`, else from Debian's archive. Raises CalledProcessError if apt cannot give it."""
    kernel = _unpacked(cache, _depends_on(META_PACKAGE))
    shell = _unpacked(cache, SHELL_PACKAGE)
    tree = next((kernel / "lib/modules").iterdir())
    return Parts(
        kernel=next((kernel / "boot").glob("vmlinuz-*")),
        modules=tuple(_in_order(tree)),
        busybox=shell / "bin/busybox",
    )


def write_start(parts: Parts, script: str, tests: str, at: Path) -> Path:
    """The first file system, with `script` to become the first process and `tests` to run in it."""
    files = at / "start"
    for directory in ("bin", "modules", "dev", "proc", "root"):
        (files / directory).mkdir(parents=True)
    shutil.copy(parts.busybox, files / "bin/busybox")
    for number, module in enumerate(parts.modules):
        shutil.copy(module, files / "modules" / f"{number:02}.ko")
    shutil.copy(HERE / "init", files / "init")
    (files / "init").chmod(0o755)
    (files / "script").write_text(script)
    (files / "tests").write_text(tests)
    names = "\0".join(str(path.relative_to(files)) for path in (files, *files.rglob("*")))
    archive = at / "start.cpio"
    with archive.open("wb") as out:
        subprocess.run(
            ["cpio", "--quiet", "-0", "-o", "-H", "newc"],
            cwd=files,
            input=names.encode(),
            stdout=out,
            check=True,
        )
    return archive


def _depends_on(package: str) -> str:
    """The kernel that Debian's package of no version stands for today."""
    shown = subprocess.run(
        ["apt-cache", "depends", "--important", package],
        capture_output=True,
        text=True,
        check=True,
    )
    words = [line.split()[-1] for line in shown.stdout.splitlines() if "Depends:" in line]
    return next(word for word in words if word.startswith("linux-image-"))


def _unpacked(cache: Path, package: str) -> Path:
    """The package's files, fetched and unpacked unless they are there."""
    place = cache / package
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-qq", "download", package], cwd=cache, check=True)
        archive = next(cache.glob(f"{package}_*.deb"))
        half = place.with_suffix(".half")
        subprocess.run(["dpkg", "-x", archive, half], check=True)
        half.rename(place)
        archive.unlink()
    return place


def _in_order(tree: Path) -> Iterator[Path]:
    """Each module after those it needs. The tree is a package's: no index was made in it yet."""
    files = {path.name.split(".")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    done: set[str] = set()

    def load(name: str) -> Iterator[Path]:
        if name in done or name not in files:  # what is missing is a part of the kernel itself
            return
        done.add(name)
        for needed in _needs(files[name]):
            yield from load(needed)
        yield files[name]

    for name in MODULES:
        yield from load(name)


def _needs(module: Path) -> list[str]:
    """The names in its own `depends=` line."""
    content = module.read_bytes()
    start = content.index(b"\0depends=") + len(b"\0depends=")
    words = content[start : content.index(b"\0", start)].decode()
    return [word.replace("-", "_") for word in words.split(",") if word]
