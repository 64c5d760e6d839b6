"""Which packages a source needs, by what it imports."""

import re

import pytest

from domain.imports import PACKAGES, imported_packages


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("import os\nimport mine\n", []),
        ("import httpx\n", ["httpx"]),
        ("from bs4 import BeautifulSoup\nimport yaml, json\n", ["beautifulsoup4", "pyyaml"]),
        ("import openai.types as t\r\n", ["openai"]),
        ("try:\n    import orjson\nexcept ImportError:\n    import json\n", []),
        ("def f():\n\timport pandas\n", []),
        ("# import httpx\n", []),
        ("importhttpx\nfrom .httpx import x\n", []),
    ],
)
def test_what_is_imported_in_any_case_is_required(text: str, packages: list[str]) -> None:
    assert imported_packages({"agent.py": text}) == packages


def test_a_module_of_the_sources_own_is_nobody_elses() -> None:
    files = {"agent.py": "import requests\nimport redis\n", "requests.py": "", "lib/redis/a.py": ""}

    assert imported_packages(files) == []


def test_documents_import_nothing() -> None:
    assert imported_packages({"agent.py": "", "README.md": "import httpx\n"}) == []


def test_a_module_and_its_package_are_names() -> None:
    assert list(PACKAGES) == sorted(PACKAGES)
    for module, package in PACKAGES.items():
        assert module.isidentifier()
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*(\[binary\])?", package)
