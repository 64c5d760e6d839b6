"""Container images made by hand, and a real registry on loopback to push them to."""

import base64
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.scratch import remove_tree
from tests.conftest import require

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OTHER_ARCHITECTURE = {"amd64": "arm64", "arm64": "amd64"}[ARCHITECTURE]
BUSYBOX = Path("/bin/busybox")  # the static one, of Debian's `busybox-static`
START_SECONDS = 20.0

type Content = bytes | str | tarfile.TarInfo


def layer(files: Mapping[str, Content]) -> bytes:
    """Return a layer's archive: files (executable), or whatever a TarInfo says, by name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), 1, mtime=0)


def link(name: str, target: str, type_: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """Return a link, or with another type a device or pipe."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type_, target
    return info


def busybox() -> dict[str, Content]:
    """Return the files of an image that has a shell, and no library at all."""
    if not BUSYBOX.exists():
        require("registry", "there is no busybox")
    names = ("sh", "cat", "echo", "ls", "env", "id", "sleep", "httpd", "wget", "touch", "rm", "pwd")
    links: dict[str, Content] = {f"bin/{name}": link(f"bin/{name}", "busybox") for name in names}
    return {"bin/busybox": BUSYBOX.read_bytes(), **links}


def image(
    folder: Path,
    layers: Sequence[bytes],
    *,
    architecture: str = ARCHITECTURE,
    **config: Any,  # of the image: Cmd, Env…
) -> Path:
    """Make an OCI layout of one image in a new folder; returns it."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    diffs = [f"sha256:{hashlib.sha256(gzip.decompress(each)).hexdigest()}" for each in layers]
    words = {
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diffs},
    }
    oci = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{oci}.manifest.v1+json",
        "config": put(json.dumps(words).encode(), f"{oci}.config.v1+json"),
        "layers": [put(each, f"{oci}.layer.v1.tar+gzip") for each in layers],
    }
    named = put(json.dumps(manifest).encode(), f"{oci}.manifest.v1+json")
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    return folder


class Registry:
    """A docker-registry on loopback, at `host`. With a login, nobody else is let in."""

    def __init__(self, folder: Path, login: tuple[str, str] | None = None) -> None:
        self.folder = folder
        self.login = login
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        self._images = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        auth = ""
        if self.login:
            said = subprocess.run(
                ["htpasswd", "-Bbn", *self.login], check=True, capture_output=True, text=True
            ).stdout
            (self.folder / "htpasswd").write_text(said)
            auth = f"auth: {{htpasswd: {{realm: test, path: {self.folder}/htpasswd}}}}\n"
        config = self.folder / "config.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{self.host}'}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder}/store}}}}\n{auth}"
        )
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(config)], stdout=log, stderr=log
            )
        host, _, port = self.host.partition(":")
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((host, int(port)), 1).close()
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                assert self._process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        """End it; what was pushed stays."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_SECONDS)
            self._process = None

    def push(self, name: str, layers: Sequence[bytes], **config: Any) -> str:
        """Push an image; returns its reference."""
        self._images += 1
        layout = image(self.folder / f"image{self._images}", layers, **config)
        return self.push_layout(name, layout)

    def push_layout(self, name: str, layout: Path) -> str:
        """Push an OCI layout as it is, or all of it if it is an index; returns the reference."""
        login = []
        if self.login:
            pair = base64.b64encode(":".join(self.login).encode()).decode()
            file = self.folder / "auth.json"
            file.write_text(json.dumps({"auths": {self.host: {"auth": pair}}}))
            login = ["--authfile", str(file)]
        subprocess.run(
            [
                *("skopeo", "--insecure-policy", "copy", "-q", "--all", "--dest-tls-verify=false"),
                *(*login, f"oci:{layout}", f"docker://{self.host}/{name}"),
            ],
            check=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
        )
        return f"{self.host}/{name}"

    def put_index(self, layout: Path, name: str, index: bytes) -> str:
        """Push the blobs of a layout, and an index of the images among them."""
        digest = hashlib.sha256(index).hexdigest()
        (layout / "blobs/sha256" / digest).write_bytes(index)
        entry = {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": f"sha256:{digest}",
            "size": len(index),
        }
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        whole = {"schemaVersion": 2, "manifests": [entry]}
        (layout / "index.json").write_text(json.dumps(whole))
        return self.push_layout(name, layout)


@contextmanager
def registry(login: tuple[str, str] | None = None) -> Generator[Registry]:
    """A registry, and everything of it removed afterwards. Skips the test where there is none."""
    for program in ("docker-registry", "skopeo", *(["htpasswd"] if login else [])):
        if shutil.which(program) is None:
            require("registry", f"{program} is not installed")
    folder = Path(tempfile.mkdtemp(prefix="argosy-registry-"))
    found = Registry(folder, login)
    try:
        found.start()
        yield found
    finally:
        found.stop()
        remove_tree(folder)


def python() -> dict[str, Content]:
    """Return the files of an image with a Python, as much of it as an HTTP server needs."""
    interpreter = Path("/usr/bin/python3").resolve()
    said = subprocess.run(["ldd", str(interpreter)], check=True, capture_output=True, text=True)
    libraries = [word for word in said.stdout.split() if word.startswith("/")]
    library = Path("/usr/lib") / interpreter.name
    packages = ("collections", "email", "encodings", "html", "http", "importlib", "json", "re")
    folders = (library, *(library / name for name in (*packages, "urllib", "lib-dynload")))
    modules = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    files = [interpreter, *map(Path, libraries), *modules]
    return {
        **{str(path).removeprefix("/"): path.read_bytes() for path in files},
        "bin/python": link("bin/python", str(interpreter)),
    }
