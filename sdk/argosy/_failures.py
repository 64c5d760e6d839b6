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

_LIBRARY = dict(sys.modules)
_OURS = (os.path.dirname(__file__) + os.sep, "<frozen importlib")  # noqa: PTH120 - as in _runner


def report(error: BaseException, root: str) -> None:
    """Report an exception. Paths below `root` are shown as the source's author knows them."""
    prefix = root + os.sep
    trace = _from_first(error.__traceback__, prefix)
    described, text = _format(error, trace, root)
    message = f"{type(error).__name__}: {described}{_last_place(trace, prefix)}"
    if isinstance(error, ModuleNotFoundError) and _may_be_a_packages(str(error.name or ""), root):
        message += ". If a package has it, name that in requirements.txt and deploy again"
    send_error(message.replace(prefix, ""), text.replace(prefix, ""))
    if sys.excepthook is not sys.__excepthook__:
        sys.excepthook(type(error), error, trace)


def _may_be_a_packages(module: str, root: str) -> bool:
    """Whether a module that is missing is neither the library's nor within one of the source's."""
    top = module.partition(".")[0]
    if not top or top in sys.stdlib_module_names:
        return False
    return not os.path.exists(os.path.join(root, top))  # noqa: PTH110, PTH118 - as in _runner


def _format(error: BaseException, trace: "TracebackType | None", root: str) -> "tuple[str, str]":
    """Return the message and the whole text.

    Formatting imports modules of the library as it needs them. The source may have its own of the
    same names, so it is put aside meanwhile.
    """
    theirs = {
        name: module
        for name, module in list(sys.modules.items())
        if (getattr(module, "__file__", None) or "").startswith(root + os.sep)
    }
    paths = list(sys.path)
    for name in theirs:
        del sys.modules[name]
    sys.modules.update({name: _LIBRARY[name] for name in theirs if name in _LIBRARY})
    sys.path[:] = [path for path in paths if path != root and not path.startswith(root + os.sep)]
    try:
        made = traceback.TracebackException(type(error), error, trace)
        return str(made), "".join(made.format())
    finally:
        sys.modules.update(theirs)
        sys.path[:] = paths


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
