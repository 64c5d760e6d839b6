"""Which framework a source is written for, by what it imports."""

import re
from collections.abc import Mapping

# By the modules of it that an agent imports.
MODULES = {
    "crewai": "crewai",
    "langgraph": "langgraph",
    "langchain": "langchain",
    "langchain_core": "langchain",
    "langchain_openai": "langchain",
    "pydantic_ai": "pydantic-ai",
    "agents": "openai-agents",
}

_IMPORTED = re.compile(r"^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([^\n#;]+))", re.MULTILINE)
_NAME = re.compile(r"(?:^|,)[ \t]*(\w+)")  # of `a.b as c, d`, the names a and d


def find_framework(files: Mapping[str, str]) -> str:
    """Return the framework that the Python files (text by path) import, empty for none or several.

    A module that the source has itself is not a framework's.
    """
    names = {
        name
        for path, text in files.items()
        if path.endswith(".py")
        for match in _IMPORTED.finditer(text)
        for name in _NAME.findall(match[1] or match[2])
    }
    own = {part.removesuffix(".py") for path in files for part in path.split("/")}
    found = {MODULES[name] for name in names - own if name in MODULES}
    if found == {"langchain", "langgraph"}:
        return "langgraph"
    return found.pop() if len(found) == 1 else ""
