"""Argosy's client library: `from argosy import Argosy`.

Names are imported when they are first used, so that agent code which imports `argosy.agent` inside
a sandbox pays for nothing else. Type checkers read the names from `__init__.pyi`.
"""

from importlib import import_module

_HOME = {
    "Argosy": "argosy.client",
    "Agent": "argosy.models",
    "AgentVersion": "argosy.models",
    "Build": "argosy.models",
    "Deployed": "argosy.models",
    "Deployment": "argosy.models",
    "Key": "argosy.models",
    "LiveEvent": "argosy.models",
    "ModelProvider": "argosy.models",
    "Registry": "argosy.models",
    "Page": "argosy.models",
    "Policy": "argosy.models",
    "Recorded": "argosy.models",
    "Replay": "argosy.models",
    "Revision": "argosy.models",
    "Run": "argosy.models",
    "RunFile": "argosy.models",
    "StarterKit": "argosy.models",
    "Tool": "argosy.models",
    "Usage": "argosy.models",
    "Who": "argosy.models",
    "Workspace": "argosy.models",
    "ArgosyError": "argosy.errors",
    "Conflict": "argosy.errors",
    "Forbidden": "argosy.errors",
    "Invalid": "argosy.errors",
    "LimitReached": "argosy.errors",
    "Malformed": "argosy.errors",
    "NotConfigured": "argosy.errors",
    "NotFound": "argosy.errors",
    "Refused": "argosy.errors",
    "ServerUnreachable": "argosy.errors",
    "StillGoing": "argosy.errors",
    "StreamLost": "argosy.errors",
    "TooLarge": "argosy.errors",
    "Unauthenticated": "argosy.errors",
    "Unavailable": "argosy.errors",
    "UnreadableAnswer": "argosy.errors",
    "UnreadableSource": "argosy.errors",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'argosy' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
