"""Removing the answers of commands whose keys nobody sends again: see `keep_answers_days`.

The table is walked by its key, a page at a time: an index on time would cost each append a page.
"""

from adapters.event_store.backend import Database
from adapters.event_store.scripts import Rows, Script

PAGE_ROWS = 1000  # looked at, and removed at most, in one transaction
START = ("", "")

type Place = tuple[str, str]
"""Scope and key of an answer, where a page ended."""

_PAGE = """
SELECT scope, key, at < now_us() - $3 FROM commands WHERE (scope, key) > ($1, $2)
ORDER BY scope, key LIMIT $4
"""
_FORGET = """
DELETE FROM commands WHERE (scope, key) > ($1, $2) AND (scope, key) <= ($3, $4)
AND at < now_us() - $5 RETURNING key
"""


async def forget_answers(
    database: Database, older_seconds: float, after: Place = START, limit: int = PAGE_ROWS
) -> tuple[int, Place]:
    """Remove those of the next `limit` answers that were given longer ago; their keys are new.

    Returns how many went, and where to go on: START after the last page. Nothing is locked for a
    page without old answers. Raises Unavailable.
    """
    age = round(older_seconds * 1_000_000)
    page = await database.fetch(_PAGE, (*after, age, limit))
    if not page:
        return 0, START
    last = (page[-1][0], page[-1][1])
    forgotten = 0
    if any(old for _, _, old in page):
        forgotten = len(await database.transact(_forget(after, last, age)))
    return forgotten, last if len(page) == limit else START


def _forget(after: Place, last: Place, age: int) -> Script[Rows]:
    rows = yield _FORGET, (*after, *last, age)
    return rows
