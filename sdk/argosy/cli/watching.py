"""Hearing of changes in a folder."""

from collections.abc import Iterator
from pathlib import Path

DEBOUNCE_MILLISECONDS = 300  # an editor, or a checkout, writes several files
FIRST_MILLISECONDS = 500


def changes(folder: Path) -> Iterator[None]:
    """Yield after each change in the folder, and once for what was changed before.

    A change that comes while the caller works is not lost. Ends by KeyboardInterrupt.
    """
    from watchfiles import watch

    first = True
    for found in watch(
        folder,
        debounce=DEBOUNCE_MILLISECONDS,
        rust_timeout=FIRST_MILLISECONDS,
        yield_on_timeout=True,
    ):
        # It listens since the loop began; before that, nobody did.
        if found or first:
            first = False
            yield
