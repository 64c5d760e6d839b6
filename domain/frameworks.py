"""Which framework a source is written for, by what it imports."""

from collections.abc import Container, Mapping

from domain.imports import imported_modules

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


def find_framework(files: Mapping[str, str]) -> str:
    """Return the framework that the Python files (text by path) import, empty for none or several.

    A module that the source has itself is not a framework's.
    """
    found = {MODULES[name] for name in imported_modules(files) if name in MODULES}
    if found == {"langchain", "langgraph"}:
        return "langgraph"
    return found.pop() if len(found) == 1 else ""


def missing_packages(files: Mapping[str, str], required: Container[str]) -> list[str]:
    """Return the packages of frameworks that the Python files import and nothing requires by name.

    files: all of the source's, by path; only of Python files the text matters.
    """
    imported = imported_modules(files)
    return [
        names[0]
        for module, names in PACKAGES.items()
        if module in imported and not any(name in required for name in names)
    ]
