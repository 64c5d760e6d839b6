"""An image's manifest and configuration: what a version is, for container engines.

Both depend on the version's own content alone, not on its number or the time: the same source,
requirements and base make the same image.
"""

import platform
from collections.abc import Sequence
from typing import Any

import msgspec

from domain.execution import Artifact, SourceDefinition, digest_of
from domain.images import ARCHITECTURES, CONFIG_TYPE, MANIFEST_TYPE, PORT
from workers.builder.oci.systems import CERTIFICATES, find_certificates
from workers.builder.oci.tars import MEDIA_TYPE, Layer
from workers.harnesses.tasks import (
    BASE,
    DEPENDENCIES,
    PYTHON_FLAGS,
    RUNTIME,
    START,
    search_path,
)
from workers.pool import SOURCE

CREATED = "1980-01-01T00:00:00Z"


def image_config(
    agent_name: str,
    definition: SourceDefinition,
    artifact: Artifact,
    python: str,
    layers: Sequence[tuple[str, Layer]],
) -> bytes:
    """Return the configuration. python: the interpreter's path. layers: each with what it is."""
    machine = platform.machine()
    packages = ((DEPENDENCIES, artifact.dependencies), (BASE, artifact.base_packages))
    places = [place for place, digest in packages if digest]
    environment = dict(agent_environment(agent_name, definition, places))
    if find_certificates() is not None:
        environment["SSL_CERT_FILE"] = CERTIFICATES
    labels = {
        "org.opencontainers.image.title": agent_name,
        "org.opencontainers.image.revision": artifact.source,
        "org.opencontainers.image.base.name": artifact.base,
    }
    config: dict[str, Any] = {
        "created": CREATED,
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {
            "User": "1000:1000",
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Env": [f"{k}={v}" for k, v in environment.items()],
            "Entrypoint": [python, *PYTHON_FLAGS, "-S", "-c", START.format("_server"), RUNTIME],
            "WorkingDir": SOURCE,
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for _, layer in layers]},
        "history": [{"created": CREATED, "created_by": f"argosy: {what}"} for what, _ in layers],
    }
    return msgspec.json.encode(config)


def image_manifest(config: bytes, layers: Sequence[Layer]) -> bytes:
    """Return the manifest."""
    described = [_descriptor(MEDIA_TYPE, layer.digest, layer.size) for layer in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, digest_of(config), len(config)),
        "layers": described,
    }
    return msgspec.json.encode(manifest)


def agent_environment(
    agent_name: str, definition: SourceDefinition, packages: Sequence[str]
) -> dict[str, str]:
    """Return what the modules that start an agent in an image read. packages: where they are."""
    return {
        "PATH": search_path(packages, "/usr/local/bin:/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "HOME": "/tmp",  # noqa: S108 - inside, and the only place to write to
        "PORT": str(PORT),
        "AGENT_NAME": agent_name,
        "USER_ENTRY_POINT": definition.entry_point,
        # As in a sandbox: the agent's own interpreter ignores these, those it starts do not.
        "PYTHONPATH": ":".join((*packages, RUNTIME)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }


# Any: the documents are those of the OCI image specification.
def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}
