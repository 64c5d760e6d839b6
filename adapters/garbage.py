"""Garbage collection of blobs: what the log needs no more is set aside first, and removed later.

Nothing holds writers up. A blob that is put or asked for while it is set aside is there as before:
by the time that it is removed, the log has been read again, a grace period later.
"""

from collections.abc import Sequence
from itertools import batched
from secrets import token_hex

from msgspec import Struct

from adapters.blobs import BlobStore, Stored
from adapters.event_store.store import Store
from domain.errors import Conflict
from domain.references import References

ROLE = "gc"
LEAD_SECONDS = 60.0  # far more than a batch takes
BATCH = 200
PAGE = 1000


class Amount(Struct, frozen=True, kw_only=True):
    """Some blobs, together."""

    blobs: int
    bytes: int


class Collected(Struct, frozen=True, kw_only=True):
    """What was done, or would be.

    named, young, waiting: kept, because the log needs them, because they were stored or set aside
    too short a time ago. set_aside, removed, brought_back: what changed.
    """

    deleted: bool
    position: int
    named: Amount
    young: Amount
    waiting: Amount
    set_aside: Amount
    removed: Amount
    brought_back: Amount


class _Sorted(Struct, kw_only=True):
    named: list[Stored] = []
    young: list[Stored] = []
    waiting: list[Stored] = []
    set_aside: list[Stored] = []
    removed: list[Stored] = []
    brought_back: list[Stored] = []


async def collect(
    store: Store,
    blobs: BlobStore,
    *,
    stored_before: float,
    aside_before: float,
    delete: bool = False,
) -> Collected:
    """Set aside and remove what nobody needs; without `delete`, only say what that would be.

    stored_before, aside_before: Unix times; what was stored, or set aside, later is kept.

    Raises Conflict where another collection is under way or the log is empty, WrittenByNewer, and
    Unavailable: what was done until then stays done, and is safe.
    """
    owner = f"{ROLE}-{token_hex(8)}"
    if delete:
        await _lead(store, owner)
    try:
        # First the blobs, then the log: what was named by then is seen to be.
        there = [each async for page in blobs.stored() for each in page]
        references, position = await _read(store, owner if delete else "")
        found = _sort(there, references.needed(), stored_before, aside_before)
        if delete:
            # In this order, so that nothing set aside just now is among what is removed.
            for change, those in (
                (blobs.bring_back, found.brought_back),
                (blobs.remove, found.removed),
                (blobs.set_aside, found.set_aside),
            ):
                for batch in batched(those, BATCH, strict=False):
                    await _lead(store, owner)
                    await change([each.digest for each in batch])
    finally:
        if delete:
            await store.leases.resign(ROLE, owner)
    return _told(found, position, deleted=delete)


async def _lead(store: Store, owner: str) -> None:
    if not await store.leases.lead(ROLE, owner, LEAD_SECONDS):
        raise Conflict("Another garbage collection is under way: wait until it has ended.")


async def _read(store: Store, owner: str) -> tuple[References, int]:
    """Read the whole log; returns what it names, and its last position."""
    references, position = References(), 0
    while page := await store.read_all(after=position, limit=PAGE):
        for recorded in page:
            references.see(recorded)
        position = page[-1].position or position
        if owner:
            await _lead(store, owner)
    if not position:
        raise Conflict("The log is empty, and would need no blob: is ARGOSY_DATABASE right?")
    return references, position


def _sort(
    there: Sequence[Stored], needed: set[str], stored_before: float, aside_before: float
) -> _Sorted:
    found = _Sorted()
    in_place = {each.digest for each in there if not each.aside}
    for each in there:
        if each.digest in needed and not each.aside:
            found.named.append(each)
        elif each.digest in needed and each.digest not in in_place:
            found.brought_back.append(each)
        elif each.aside:
            (found.waiting if each.at >= aside_before else found.removed).append(each)
        else:
            (found.young if each.at >= stored_before else found.set_aside).append(each)
    return found


def _told(found: _Sorted, position: int, *, deleted: bool) -> Collected:
    def amount(those: Sequence[Stored]) -> Amount:
        return Amount(blobs=len(those), bytes=sum(each.bytes for each in those))

    return Collected(
        deleted=deleted,
        position=position,
        named=amount(found.named),
        young=amount(found.young),
        waiting=amount(found.waiting),
        set_aside=amount(found.set_aside),
        removed=amount(found.removed),
        brought_back=amount(found.brought_back),
    )
