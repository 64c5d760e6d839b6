"""What operators remove: `python -m api gc`."""

import sys
import time

import msgspec

from adapters.event_store.store import open_store
from adapters.garbage import Amount, Collected, collect
from adapters.settings import Settings
from adapters.wiring import open_blobs
from domain.errors import Invalid

GRACE_HOURS = 24.0
# More than lies between storing a blob and the event that names it: builds and runs have limits.
LEAST_HOURS = 1.0


async def collect_garbage(
    settings: Settings, *, grace_hours: float, delete: bool, as_json: bool
) -> None:
    """Set aside and remove blobs that the log needs no more, or say what that would be."""
    if not grace_hours >= LEAST_HOURS:
        raise Invalid(
            f"--grace-hours is at least {LEAST_HOURS:g}: a deploy stores blobs before the events "
            "that name them.",
            field="grace_hours",
        )
    store = await open_store(settings.log_url)
    try:
        before = time.time() - grace_hours * 3600
        done = await collect(
            store,
            open_blobs(settings),
            stored_before=before,
            aside_before=before,
            delete=delete,
        )
    finally:
        await store.close()
    if as_json:
        sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
        return
    sys.stdout.write("".join(f"{line}\n" for line in _lines(done, grace_hours)))


def _lines(done: Collected, grace_hours: float) -> list[str]:
    hours = f"{grace_hours:g} h"
    will = "" if done.deleted else "would be "
    amounts = {
        "kept, because the log needs them": done.named,
        f"kept, because they are younger than {hours}": done.young,
        f"set aside, for less than {hours} so far": done.waiting,
        f"{will}set aside": done.set_aside,
        f"{will}removed": done.removed,
        f"{will}put back": done.brought_back,
    }
    width = max(map(len, amounts))
    lines = [
        f"The log up to position {done.position} was read.",
        *(f"  {what:<{width}}  {_shown(amount)}" for what, amount in amounts.items()),
    ]
    if not done.deleted:
        return [*lines, "Nothing was changed: --delete does it."]
    if done.set_aside.blobs:
        lines.append(f"What is set aside is removed by a collection after {hours}.")
    return lines


def _shown(amount: Amount) -> str:
    return f"{amount.blobs:>8} blobs  {amount.bytes:>14,} bytes"
