"""What every driver does with a Spec before it starts anything: judge it, and hand it over."""

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Generator
from pathlib import Path, PurePosixPath

from domain.errors import Invalid
from workers.sandboxes.driver import SandboxUnsupported, Spec
from workers.sandboxes.uids import Uids


def check_paths(spec: Spec) -> None:
    """Raise Invalid for a path that makes no sense."""
    mounts = (*spec.layers, *spec.writable)
    inside = [*(mount.target for mount in mounts), *(link.path for link in spec.symlinks)]
    for path in (*inside, *spec.hidden, *spec.files, spec.working_directory):
        if not path.startswith("/") or path == "/" or ".." in PurePosixPath(path).parts:
            raise Invalid(f"{path!r} is not a path below / without `..`.", field="spec")
    words = (*inside, *(mount.source for mount in mounts), *spec.files, spec.hostname)
    if any("\0" in word for word in (*words, spec.gateway or "")):
        raise Invalid("A path has a NUL in it.", field="spec")


@contextlib.contextmanager
def uid_for(spec: Spec, uids: Uids | None) -> Generator[int]:
    """The host uid for a sandbox, its own unless it builds; our own where there are none to give.

    Raises SandboxUnsupported when all are in use.
    """
    if uids is None:
        yield os.geteuid()
    elif spec.writable:
        yield uids.range.first
    else:
        uid = uids.take()
        try:
            yield uid
        finally:
            uids.give_back(uid)


def hand_over(spec: Spec, uid: int) -> None:
    """Give the uid what the spec says is given to it. Raises SandboxUnsupported."""
    try:
        for mount in spec.writable:
            os.chown(mount.source, uid, uid, follow_symlinks=False)
        if spec.gateway is not None:
            os.chown(spec.gateway, uid, uid, follow_symlinks=False)
            Path(spec.gateway).chmod(0o700)
    except OSError as error:
        raise SandboxUnsupported(f"A directory could not be handed over: {error}.") from error


async def to_the_end(work: Coroutine[None, None, None]) -> None:
    """Await `work` to its end even if we are cancelled meanwhile, and only then be cancelled."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # known now; that we were cancelled is what counts
        raise cancelled
    task.result()
