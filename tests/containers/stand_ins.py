"""Stand-ins for the images that compose.yaml names, made of Debian, for there may be no registry.

They are what the real ones are to Argosy (paths, users, variables, commands), and no more.
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.containers.engine import Engine, as_flags

PYTHON = "docker.io/library/python:3.13-slim"
POSTGRES = "docker.io/library/postgres:17"
VALKEY = "docker.io/valkey/valkey:9"
_RELEASE = "bookworm"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# What Python's own modules need, and nothing that Argosy's image has to install by itself.
_LIBRARIES = (
    "ca-certificates,libbz2-1.0,libexpat1,libffi8,liblzma5,libncursesw6,libreadline8,"
    "libsqlite3-0,libssl3,libuuid1"
)
_LEFT_OUT = ("test", "idlelib", "tkinter", "site-packages", "__pycache__", "config-*")
_POSTGRES_START = """\
#!/bin/sh
set -e
mkdir -p "$PGDATA" && chown -R postgres "$PGDATA"
run() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "$POSTGRES_PASSWORD" > /tmp/password && chmod 644 /tmp/password
  run initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/password -A scram-sha-256 -N >&2
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  echo "CREATE DATABASE $POSTGRES_DB;" | run postgres --single -D "$PGDATA" postgres
fi
run() { exec setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
run postgres -D "$PGDATA" -c listen_addresses='*'
"""
_POSTGRES_FILE = f"""\
FROM {PYTHON}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null
ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data
COPY start /start
CMD ["sh", "/start"]
"""
_VALKEY_FILE = f"""\
FROM {PYTHON}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server >/dev/null
RUN ln -s redis-cli /usr/bin/valkey-cli && ln -s redis-server /usr/bin/valkey-server
CMD ["valkey-server", "--bind", "0.0.0.0", "--protected-mode", "no"]
"""


def make_images(engine: Engine, scratch: Path) -> None:
    """Make those that are not in the engine's store yet; takes a minute or two."""
    if not engine.has(PYTHON):
        _make_python(engine, scratch / "python")
    for image, text, files in (
        (POSTGRES, _POSTGRES_FILE, {"start": _POSTGRES_START}),
        (VALKEY, _VALKEY_FILE, {}),
    ):
        if not engine.has(image):
            folder = scratch / image.replace("/", "-")
            folder.mkdir(parents=True)
            for name, content in {"Containerfile": text, **files}.items():
                (folder / name).write_text(content)
            engine.run("build", "--network", "host", "--tag", image, str(folder))


def _make_python(engine: Engine, root: Path) -> None:
    """Debian with this machine's Python in /usr/local, as the real one has it."""
    _call("debootstrap", "--variant=minbase", f"--include={_LIBRARIES}", _RELEASE, str(root))
    here = Path(sys.base_prefix)
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    there = root / "usr" / "local"
    standard = sysconfig.get_path("stdlib")
    ignored = shutil.ignore_patterns(*_LEFT_OUT)
    shutil.copytree(standard, there / "lib" / python, ignore=ignored)
    shutil.copytree(
        Path(standard, "site-packages", "pip"), there / "lib" / python / "site-packages" / "pip"
    )
    shutil.copy(here / "bin" / python, there / "bin" / python)
    for library in here.glob("lib/libpython*.so*"):
        shutil.copy(library, there / "lib")
    # It finds its library where it stands, as the real one does: sandboxes have no ld.so.cache.
    _call("patchelf", "--set-rpath", "$ORIGIN/../lib", str(there / "bin" / python))
    for name in ("python", "python3"):
        (there / "bin" / name).symlink_to(python)
    pip = there / "bin" / "pip"
    pip.write_text(f"#!/usr/local/bin/{python}\nfrom pip._internal.cli.main import main\nmain()\n")
    pip.chmod(0o755)
    shutil.copy(_CERTIFICATES, root / _CERTIFICATES.lstrip("/"))  # this machine's may be more
    tar = root.with_suffix(".tar")
    _call("tar", "-C", str(root), "-cf", str(tar), ".")
    shutil.rmtree(root)
    environment = {
        "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SSL_CERT_FILE": _CERTIFICATES,
        "PIP_CERT": _CERTIFICATES,
    }
    changes = [f"ENV {name}={value}" for name, value in environment.items()]
    engine.run("import", "--quiet", *as_flags("--change", changes), str(tar), PYTHON)
    tar.unlink()


def _call(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {(done.stdout + done.stderr)[-4000:]}"
