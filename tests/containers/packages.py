"""An agent with system packages and requirements, built by an engine upon a Debian, and asked."""

import tempfile
from pathlib import Path

from tests.containers.engine import Engine, serve
from tests.containers.stand_ins import PYTHON
from tests.e2e.servers import dev_server
from tests.registries import registry

FILES = {
    "apt.txt": "# a program, and the library of another\nhostname\nlibjq1\n",
    ".python-version": "3.13\n",
    "requirements.txt": "six==1.17.0\n",
    "agent.py": (
        "import ctypes, subprocess, sys\n"
        "import six\n\n"
        "def handler(request):\n"
        "    ctypes.CDLL('libjq.so.1')\n"
        "    name = subprocess.run(['hostname', '--help'], capture_output=True, text=True)\n"
        "    assert 'hostname' in name.stdout + name.stderr\n"
        "    version = '.'.join(map(str, sys.version_info[:2]))\n"
        "    return f\"{request['message']} {six.__version__} {version}\"\n"
    ),
}


def try_packages(engine: Engine) -> list[str]:
    """Deploy it and ask it; returns what is wrong."""
    with (
        registry() as ours,
        serve(engine) as socket,
        tempfile.TemporaryDirectory(prefix="argosy-packages-") as scratch,
    ):
        image = f"{ours.host}/python:3.13"
        engine.run("push", "--quiet", "--tls-verify=false", PYTHON, image)
        folder = Path(scratch, "packages")
        folder.mkdir()
        for name, text in FILES.items():
            (folder / name).write_text(text)
        environment = {
            "ARGOSY_ENGINE": f"unix://{socket}",
            "ARGOSY_ENGINE_NETWORK": "host",
            "ARGOSY_ENGINE_IMAGE": f"{ours.host}/python:{{python}}",
            "ARGOSY_INSECURE_REGISTRIES": ours.host,
            "ARGOSY_OUTBOUND_ALLOW": ours.host,
        }
        with dev_server(Path(scratch, "data"), environment=environment) as server:
            made = server.argosy("deploy", str(folder), "--json", timeout=600).json
            asked = server.argosy("invoke", "packages", "-m", "hello", "--json", timeout=120).json
    wrong = [] if made["execution_mode"] == "FULL_BUILD" else [f"packages: {made}"]
    expected = "hello 1.17.0 3.13"
    return wrong + ([] if asked["output"] == expected else [f"packages: {asked}"])
