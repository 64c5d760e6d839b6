"""Logs: one line per thing that happens, as JSON for programs or as text for people.

Event names are constant (`run.claimed`); what varies is fields. What one request or job is about is
bound once, with `structlog.contextvars.bound_contextvars`. Libraries' own lines come through the
same door as `library.said`.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Literal

import msgspec
import structlog

# Fields that can only be a mistake. The value is never worth a line in a log.
SECRET_WORDS = ("api_key", "authorization", "cookie", "password", "secret", "token")
MASKED = "[masked]"

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_encoder = msgspec.json.Encoder(enc_hook=repr)


def configure(
    name: str,
    log_format: Literal["json", "text"],
    log_level: Literal["debug", "info", "warning", "error"],
) -> None:
    """Set up logging to standard error for this process, whose lines carry `process=name`."""
    level = _LEVELS[log_level]
    structlog.contextvars.clear_contextvars()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _named(name),
            _clock(log_format),
            mask,
            *_renderers(log_format),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(level)
    # RQ and Alembic tell every step at INFO; what matters of it we say ourselves.
    for library in ("rq", "rq.worker", "alembic", "asyncio", "sqlalchemy", "httpx"):
        logging.getLogger(library).setLevel(max(level, logging.WARNING))


def mask(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Blot out the fields whose names say that they hold a secret."""
    for field in event:
        if _hides(field):
            event[field] = MASKED
    return event


@lru_cache(1024)
def _hides(field: str) -> bool:
    name = field.lower()
    return any(word in name for word in SECRET_WORDS)


def tame(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Escape what would control the terminal of whoever reads: paths are anybody's to choose."""
    for field, value in event.items():
        if isinstance(value, str) and _CONTROL.search(value):
            event[field] = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
    return event


class _Forward(logging.Handler):
    """The standard library's records, as our events."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name, "text": record.getMessage()}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        # Any: structlog's proxy takes its type from the configuration.
        logger: Any = structlog.get_logger()
        logger.log(record.levelno, "library.said", **fields)


def _named(name: str) -> structlog.typing.Processor:
    def add(
        _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event.setdefault("process", name)
        return event

    return add


def _clock(log_format: Literal["json", "text"]) -> structlog.typing.Processor:
    if log_format == "text":
        return structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    return structlog.processors.TimeStamper(fmt="iso", utc=True)


def _renderers(log_format: Literal["json", "text"]) -> list[structlog.typing.Processor]:
    if log_format == "text":
        # Never the rich tracebacks: they print local variables, secrets among them.
        plain = structlog.dev.plain_traceback
        colors = sys.stderr.isatty()
        return [
            tame,
            structlog.dev.ConsoleRenderer(
                colors=colors, pad_event_to=24, exception_formatter=plain
            ),
        ]
    return [structlog.processors.format_exc_info, _as_json]


def _as_json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    return _encoder.encode(dict(event)).decode()
