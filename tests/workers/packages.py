"""Hand-made packages, and an index of them on loopback."""

import base64
import contextlib
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOLD_SECONDS = 30


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str] | None = None,
    *,
    requires: Sequence[str] = (),
    python: str = "",
    tag: str = "py3-none-any",
) -> str:
    """Make a wheel; returns its SHA-256. Without files it has one module of its own name."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Python: {python}\n" if python else ""
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    content = {
        **(files or {f"{name}.py": f"VERSION = {version!r}\n"}),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},sha256={_short(text)},\n" for path, text in content.items())
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**content, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def make_sdist(
    folder: Path,
    name: str,
    version: str,
    backend: str = "",
    *,
    requires: Sequence[str] = (),
    build_requires: Sequence[str] = (),
) -> str:
    """Make a source distribution with a build backend of its own; returns its SHA-256.

    The backend makes a wheel with one module; `backend` is put after it, and may change it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    head = f"NAME, VERSION, REQUIRES = {name!r}, {version!r}, {list(requires)!r}\n"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": f"[build-system]\nrequires = {list(build_requires)!r}\n"
        'build-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": f"{head}{BACKEND}{backend}\n",
    }
    sdist = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for path, text in files.items():
            info = tarfile.TarInfo(f"{name}-{version}/{path}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return hashlib.sha256(sdist.read_bytes()).hexdigest()


# What it is to say of itself, the packages of these tests write into their module.
BACKEND = """
import zipfile

def about():
    return {}

def build_wheel(folder, config_settings=None, metadata_directory=None):
    info = f"{NAME}-{VERSION}.dist-info"
    metadata = f"Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {VERSION}\\n"
    metadata += "".join(f"Requires-Dist: {one}\\n" for one in REQUIRES)
    tag = "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files = {
        f"{NAME}.py": f"VERSION, ABOUT = {VERSION!r}, {about()!r}\\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": tag,
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"])
    wheel = f"{NAME}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{wheel}", "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    print("made", wheel)
    return wheel
"""


def _short(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Index:
    """A package index (PEP 503) on loopback. `asked` are the paths that were requested.

    forged: announces these hashes instead of the files' own, by file name.
    yanked: why these files are yanked, by file name.
    moved: where these paths are instead. files_url: where the files are, by default beside it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.forged: dict[str, str] = {}
        self.yanked: dict[str, str] = {}
        self.moved: dict[str, str] = {}
        self.files_url = ""
        self.status = 200
        self.url = ""

    def page(self, name: str) -> bytes | None:
        """The page of a package, None if there is none."""
        found = [
            path
            for path in sorted(self.folder.iterdir())
            if path.name.split("-")[0].replace("_", "-") == name
        ]
        links = [
            f'<a href="{self.files_url}/files/{path.name}#sha256={self._digest(path)}"'
            f"{_attributes(path)}{self._yanked(path)}>{path.name}</a>"
            for path in found
        ]
        return "\n".join(links).encode() if links else None

    def file(self, name: str) -> bytes:
        """A file, or with `.metadata` after its name only a wheel's metadata (PEP 658)."""
        if name.endswith(".metadata"):
            return _metadata(self.folder / name.removesuffix(".metadata"))
        return (self.folder / name).read_bytes()

    def _yanked(self, path: Path) -> str:
        return f' data-yanked="{self.yanked[path.name]}"' if path.name in self.yanked else ""

    def _digest(self, path: Path) -> str:
        return self.forged.get(path.name) or hashlib.sha256(path.read_bytes()).hexdigest()


class HoldingIndex(Index):
    """An index that does not answer for `held` (a package or file) until it is let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.held = ""
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def page(self, name: str) -> bytes | None:
        self._hold(name)
        return super().page(name)

    def file(self, name: str) -> bytes:
        self._hold(name)
        return super().file(name)

    def _hold(self, name: str) -> None:
        if name == self.held:
            self.reached.set()
            assert self.let_go.wait(HOLD_SECONDS)


def _attributes(path: Path) -> str:
    if path.suffix != ".whl":
        return ""
    for line in _metadata(path).decode().splitlines():
        if line.startswith("Requires-Python: "):
            escaped = line.removeprefix("Requires-Python: ").replace(">", "&gt;")
            return f' data-core-metadata="true" data-requires-python="{escaped}"'
    return ' data-core-metadata="true"'


def _metadata(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("METADATA")))


@contextmanager
def serve(index: Index) -> Generator[Index]:
    """Serve the index; its `url` is known inside the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            if self.path in index.moved:
                self.send_response(302)
                self.send_header("Location", index.moved[self.path])
                self.end_headers()
                return
            kind, name = self.path.strip("/").split("/")
            body = index.page(name) if kind == "simple" else index.file(name)
            status = index.status if body is not None else 404
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                with contextlib.suppress(BrokenPipeError):
                    self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815, http.server looks for this name

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        index.url = f"http://127.0.0.1:{server.server_port}/simple"
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
