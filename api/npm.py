"""What an agent in JavaScript may say of its packages: nothing here installs any."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from domain.errors import Invalid

PACKAGE_FILE = "package.json"


class _Package(Struct, frozen=True):
    """What is of interest in it. What is only for development is not."""

    dependencies: dict[str, str] = {}


def check_packages(files: Mapping[str, str], *, field: str) -> None:
    """Raise Invalid for a package.json that needs packages, or that cannot be read."""
    text = files.get(PACKAGE_FILE)
    if text is None:
        return
    place = f"{field}.{PACKAGE_FILE}"
    try:
        package = msgspec.json.decode(text, type=_Package)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"{PACKAGE_FILE} cannot be read: {error}.", field=place) from None
    if package.dependencies:
        names = ", ".join(sorted(package.dependencies))[:200]
        raise Invalid(
            f"{PACKAGE_FILE} has dependencies ({names}), and packages of npm are not installed "
            "here. Bundle them into the source (esbuild --bundle --platform=node), and leave "
            "`dependencies` out.",
            field=place,
        )
