"""How a run ended: who ended it, how its program ended, what its harness made of that."""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal

from msgspec import Struct

from domain.limits import Limits
from domain.ports import Blobs
from domain.runs import How, Reason, RunFile
from workers.harnesses.harness import Result
from workers.sandboxes.driver import Exit, LeftOut, ResultFile, Sandbox

# What RunEnded holds of the output; the whole of a longer one is a blob.
SHOWN_OUTPUT_BYTES = 64 * 1024
MAX_FILES = 1000
MAX_FILES_BYTES = 100 << 20
AT_ONCE = 8  # files on their way to the blob store
MAX_NAMED = 20  # of what was left out

# Why the worker itself ended the program, if it did.
type Verdict = Literal["", "cancelled", "timed_out", "output_limit", "halted"]


class Ending(Struct, frozen=True, kw_only=True):
    """What RunEnded says of it."""

    how: How
    reason: Reason
    detail: str


def judge(
    verdict: Verdict,
    end: Exit,
    result: Result,
    limits: Limits,
    *,
    cancelled: str = "",
    halted: tuple[Reason, str] = ("", ""),
) -> Ending:
    """Return how the run ended. What the worker did comes first, then the kernel, then the agent.

    A program that ended well although something in its sandbox was killed for memory did end well.
    cancelled: the words of whoever cancelled it.
    halted: why the gateway ended it, reason and words.
    """
    match verdict:
        case "cancelled":
            return Ending(how="cancelled", reason="requested", detail=cancelled)
        case "timed_out":
            detail = f"It took longer than the {limits.seconds} s that it may take."
            return Ending(how="failed", reason="timed_out", detail=detail)
        case "output_limit":
            detail = f"It wrote more than the {limits.output_kb} KiB that it may write."
            return Ending(how="failed", reason="output_limit", detail=detail)
        case "halted":
            reason, detail = halted
            return Ending(how="failed", reason=reason, detail=detail)
        case "":
            pass
    if end.out_of_memory and result.how == "failed":
        detail = f"It needed more than the {limits.memory_mb} MiB of memory that it may use."
        return Ending(how="failed", reason="out_of_memory", detail=detail)
    return Ending(how=result.how, reason=result.reason, detail=result.detail)


def cut(text: str, most: int = SHOWN_OUTPUT_BYTES) -> tuple[str, bool]:
    """Return the first `most` bytes of a text, cut between characters, and whether that is all."""
    data = text.encode(errors="replace")
    if len(data) <= most:
        return data.decode(), True
    return data[:most].decode(errors="ignore"), False


async def collect_files(
    sandbox: Sandbox, into: Path, blobs: Blobs, source: Mapping[str, str]
) -> tuple[list[RunFile], list[str]]:
    """Store the files that the run left; return them, and what was left out, in words.

    source: digests by path of the files the program began by copying into its working directory;
        those are results only if they changed. Raises Unavailable where the blob store does.
    """
    most = MAX_FILES + len(source)
    results = await sandbox.collect(into, max_files=most, max_bytes=MAX_FILES_BYTES)
    found = await asyncio.to_thread(_changed, results.files, into, source)
    files: list[RunFile] = []
    for start in range(0, len(found), AT_ONCE):
        part = found[start : start + AT_ONCE]
        digests = await asyncio.gather(*(blobs.put_file(into / file.path) for file in part))
        files += [
            RunFile(path=file.path, digest=digest, size=file.size)
            for file, digest in zip(part, digests, strict=True)
        ]
    return files, _left_out(results.left_out, complete=results.complete)


def _changed(
    files: Sequence[ResultFile], into: Path, source: Mapping[str, str]
) -> list[ResultFile]:
    return [
        file
        for file in files
        if file.path not in source or _digest(into / file.path) != source[file.path]
    ]


def _left_out(left_out: tuple[LeftOut, ...], *, complete: bool) -> list[str]:
    lines = [f"{each.path} was not kept: {each.why}" for each in left_out[:MAX_NAMED]]
    if len(left_out) > MAX_NAMED or (not complete and not lines):
        lines.append("More files were not kept.")
    return lines


def _digest(path: Path) -> str:
    hashed = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    return f"sha256:{hashed.hexdigest()}"
