"""Which framework a source is written for, by what it imports."""

import re
from collections.abc import Container, Mapping

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

# What brings these modules where no base does. Any of them will do; the first is taken.
PACKAGES = {
    "crewai": ("crewai",),
    "langgraph": ("langgraph",),
    "langchain": ("langchain",),
    "langchain_core": ("langchain-core",),
    "langchain_openai": ("langchain-openai",),
    "pydantic_ai": ("pydantic-ai", "pydantic-ai-slim"),
    "agents": ("openai-agents",),
}

_IMPORTED = re.compile(r"^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([^\n#;]+))", re.MULTILINE)
_NAME = re.compile(r"(?:^|,)[ \t]*(\w+)")  # of `a.b as c, d`, the names a and d


def find_framework(files: Mapping[str, str]) -> str:
    """Return the framework that the Python files (text by path) import, empty for none or several.

    A module that the source has itself is not a framework's.
    """
    found = {MODULES[name] for name in _imported(files) if name in MODULES}
    if found == {"langchain", "langgraph"}:
        return "langgraph"
    return found.pop() if len(found) == 1 else ""


def missing_packages(files: Mapping[str, str], required: Container[str]) -> list[str]:
    """Return the packages of frameworks that the Python files import and nothing requires by name.

    files: all of the source's, by path; only of Python files the text matters.
    """
    imported = _imported(files)
    return [
        names[0]
        for module, names in PACKAGES.items()
        if module in imported and not any(name in required for name in names)
    ]


def _imported(files: Mapping[str, str]) -> set[str]:
    """Return the modules that the Python files import, without those that the source has itself."""
    names = {
        name
        for path, text in files.items()
        if path.endswith(".py")
        for match in _IMPORTED.finditer(text)
        for name in _NAME.findall(match[1] or match[2])
    }
    own = {part.removesuffix(".py") for path in files for part in path.split("/")}
    return names - own
