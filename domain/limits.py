"""What a sandbox may use at most; part of a deployment's revision and of a build's request."""

from typing import Annotated

from msgspec import Meta, Struct


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one run or build.

    memory_mb: all memory of the sandbox, its tmpfs included, MiB.
    cpu: cores, fractions allowed.
    pids: processes and threads.
    disk_mb: size of the working directory, MiB; it is a tmpfs and counts as memory when filled.
    seconds: wall-clock time from the sandbox's start until it is ended as `timed_out`.
    output_kb: text of the transcript, KiB; what comes after it ends the run as `output_limit`.
    """

    memory_mb: Annotated[int, Meta(ge=32, le=1_048_576)] = 512
    cpu: Annotated[float, Meta(ge=0.05, le=256)] = 1.0
    pids: Annotated[int, Meta(ge=8, le=65_536)] = 128
    disk_mb: Annotated[int, Meta(ge=1, le=1_048_576)] = 256
    seconds: Annotated[int, Meta(ge=1, le=604_800)] = 300
    output_kb: Annotated[int, Meta(ge=1, le=1_048_576)] = 10_240
