"""A run of an image: its files as the sandbox's, and our interpreter beside them."""

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from workers.harnesses.harness import Task
from workers.images.beside import Beside, put_beside
from workers.images.programs import ImageProgram, mounts_of, program_in
from workers.sandboxes.bases import Base
from workers.sandboxes.driver import Mount, Spec, Symlink

RUNTIME = "/run/argosy-runtime"
WORK = "/run/work"  # what can be written, beside /tmp; no image has anything there


class UnpackedImage(Struct, frozen=True):
    """An image that is ready on this machine."""

    program: ImageProgram
    mounts: tuple[Mount, ...]
    symlinks: tuple[Symlink, ...]
    beside: Beside

    def told(self, task: Task) -> Task:
        """Return the task for the image's program."""
        return replace(
            task,
            program=self.program,
            python=self.beside.python,
            python_start=self.beside.python_start,
            runtime_target=RUNTIME,
            working_directory=WORK,
        )

    def shown(self, spec: Spec, runtime: str) -> Spec:
        """Return the sandbox with the image's files. `runtime`: directory of our harnesses."""
        beside = self.beside
        return replace(
            spec,
            layers=(*self.mounts, *beside.layers, Mount(runtime, RUNTIME)),
            symlinks=(*self.symlinks, *beside.symlinks),
            hidden=beside.hidden,
            files={},
            shell=beside.shell,
        )


def find_image(path: Path, base: Base) -> UnpackedImage:
    """Read an unpacked image. Raises LayerRefused, and SandboxUnsupported."""
    mounts, symlinks = mounts_of(path)
    return UnpackedImage(program_in(path), mounts, symlinks, put_beside(base))
