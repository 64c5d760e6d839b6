"""What the Python files of a source import, and which packages bring that."""

import re
from collections.abc import Mapping

# Packages that agents use and whose modules no other package brings. What is not here is left to
# whoever writes the agent: a name that is guessed could be anybody's.
PACKAGES = {
    "PIL": "pillow",
    "aiohttp": "aiohttp",
    "anthropic": "anthropic",
    "arxiv": "arxiv",
    "attrs": "attrs",
    "boto3": "boto3",
    "bs4": "beautifulsoup4",
    "chromadb": "chromadb",
    "cohere": "cohere",
    "cryptography": "cryptography",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "dspy": "dspy",
    "fastapi": "fastapi",
    "feedparser": "feedparser",
    "flask": "flask",
    "groq": "groq",
    "httpx": "httpx",
    "instructor": "instructor",
    "jinja2": "jinja2",
    "jwt": "pyjwt",
    "langchain_anthropic": "langchain-anthropic",
    "langchain_community": "langchain-community",
    "langsmith": "langsmith",
    "litellm": "litellm",
    "lxml": "lxml",
    "markdown": "markdown",
    "matplotlib": "matplotlib",
    "mcp": "mcp",
    "mistralai": "mistralai",
    "msgspec": "msgspec",
    "networkx": "networkx",
    "nltk": "nltk",
    "numpy": "numpy",
    "ollama": "ollama",
    "openai": "openai",
    "openpyxl": "openpyxl",
    "orjson": "orjson",
    "pandas": "pandas",
    "psycopg": "psycopg[binary]",
    "pydantic": "pydantic",
    "pymongo": "pymongo",
    "pypdf": "pypdf",
    "redis": "redis",
    "requests": "requests",
    "rich": "rich",
    "scipy": "scipy",
    "sentence_transformers": "sentence-transformers",
    "sklearn": "scikit-learn",
    "slack_sdk": "slack-sdk",
    "smolagents": "smolagents",
    "sqlalchemy": "sqlalchemy",
    "stripe": "stripe",
    "tavily": "tavily-python",
    "tenacity": "tenacity",
    "tiktoken": "tiktoken",
    "torch": "torch",
    "tqdm": "tqdm",
    "trafilatura": "trafilatura",
    "transformers": "transformers",
    "typer": "typer",
    "websockets": "websockets",
    "yaml": "pyyaml",
}

_IMPORTED = re.compile(r"^([ \t]*)(?:from[ \t]+(\w+)|import[ \t]+([^\n#;]+))", re.MULTILINE)
_NAME = re.compile(r"(?:^|,)[ \t]*(\w+)")  # of `a.b as c, d`, the names a and d


def imported_modules(files: Mapping[str, str], *, always: bool = False) -> set[str]:
    """Return the modules that the Python files (text by path) import, but not the source's own.

    always: only those that are imported whatever happens, not in a `try`, an `if` or a function.
    """
    names = {
        name
        for path, text in files.items()
        if path.endswith(".py")
        for match in _IMPORTED.finditer(text)
        if not (always and match[1])
        for name in _NAME.findall(match[2] or match[3])
    }
    own = {part.removesuffix(".py") for path in files for part in path.split("/")}
    return names - own


def imported_packages(files: Mapping[str, str]) -> list[str]:
    """Return the packages that bring what the Python files import in any case, as far as known."""
    imported = imported_modules(files, always=True)
    return [package for module, package in PACKAGES.items() if module in imported]
