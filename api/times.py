"""Times as clients see them."""

from datetime import UTC, datetime


def stamp(at: datetime) -> str:
    """Return ISO 8601 in UTC, always with microseconds and Z, so that text sorts as time does."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def stamp_seconds(seconds: float) -> str:
    """Return the same for seconds since 1970."""
    return stamp(datetime.fromtimestamp(seconds, UTC))
