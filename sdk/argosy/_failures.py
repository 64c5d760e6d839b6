"""Report what ended an agent's program: the message, the place, and the agent's own frames.

In-sandbox code: see `_channel`. Imported only when something failed, for `traceback` is slow.
"""

import os
import sys
import traceback

from argosy._channel import send_error

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from types import TracebackType

_OURS = (os.path.dirname(__file__) + os.sep, "<frozen importlib")  # noqa: PTH120 - as in _runner


def report(error: BaseException, root: str) -> None:
    """Report an exception. Paths below `root` are shown as the source's author knows them."""
    prefix = root + os.sep
    trace = _from_first(error.__traceback__, prefix)
    lines = traceback.TracebackException(type(error), error, trace).format()
    message = f"{type(error).__name__}: {error}{_last_place(trace, prefix)}"
    send_error(message.replace(prefix, ""), "".join(lines).replace(prefix, ""))
    if sys.excepthook is not sys.__excepthook__:
        sys.excepthook(type(error), error, trace)


def _from_first(trace: "TracebackType | None", prefix: str) -> "TracebackType | None":
    """Return the traceback from the first frame of the source on, or of anybody but ours."""
    others = None
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(prefix):
            return trace
        if others is None and not name.startswith(_OURS):
            others = trace
        trace = trace.tb_next
    return others


def _last_place(trace: "TracebackType | None", prefix: str) -> str:
    place = ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(prefix):
            place = f" ({name.removeprefix(prefix)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place
