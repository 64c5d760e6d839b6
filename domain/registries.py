"""Registries: where a workspace's private images are, and what may be declared of them."""

from msgspec.structs import replace

from domain.catalog import Registry
from domain.errors import Invalid
from domain.image_references import read_reference
from domain.tools import Names

MAX_USERNAME = 200


def declared_registry(
    wanted: Registry, current: Registry | None, names: Names, *, credential: str | None = None
) -> Registry:
    """Return the registry to store: checked, with the password that is given or already there.

    credential: reference of the one given now, None to keep what there is. Raises Invalid.
    """
    host = wanted.host.strip().lower()
    if read_reference(f"{host}/image", field=names("host")).host != host or "/" in host:
        raise Invalid(
            f"{names('host')}: {wanted.host[:100]!r} is not a registry's host, such as ghcr.io or "
            "registry.example:5000.",
            field=names("host"),
        )
    username = wanted.username
    if not 0 < len(username) <= MAX_USERNAME or ":" in username or not username.isprintable():
        raise Invalid(
            f"{names('username')} must be 1 to {MAX_USERNAME} visible characters without a colon.",
            field=names("username"),
        )
    if credential is None and current:
        credential = current.credential
        if credential and current.host != host:
            raise Invalid(
                "The password was given for another registry; send it again for this one.",
                field=names("credential"),
            )
    return replace(wanted, host=host, credential=credential or "")
