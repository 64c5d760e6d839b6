"""Every route is in the reference, and nothing else is."""

import re
from pathlib import Path

from litestar.routes import HTTPRoute

from tests.api.conftest import Api

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
_ROW = re.compile(r"^\| `([A-Z]+ /\S+)` \|", re.MULTILINE)


async def test_the_pages_list_what_is_served(api: Api) -> None:
    pages = [REFERENCE / f"{name}.md" for name in ("http", "registry", "runagents")]

    listed = [row for page in pages for row in _ROW.findall(page.read_text())]

    served = {
        f"{method} {re.sub(r':\w+}', '}', route.path)}"
        for route in api.app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith("/schema")
        for method in route.methods - {"OPTIONS"}
    }
    assert sorted(listed) == sorted(served)
