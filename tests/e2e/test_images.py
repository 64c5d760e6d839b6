"""A container image as people deploy it: by tag, by a tag that moves, back again, and private."""

from pathlib import Path

from tests.e2e.servers import dev_server
from tests.registries import busybox, layer, registry


def test_an_image_is_deployed_replaced_and_rolled_back(tmp_path: Path) -> None:
    shell = layer(busybox())
    with registry(("acme", "secret-word")) as private:
        environment = {
            "ARGOSY_OUTBOUND_ALLOW": private.host,
            "ARGOSY_INSECURE_REGISTRIES": private.host,
        }
        with dev_server(tmp_path / "data", environment=environment) as dev:
            first = private.push("agent:1", [shell], Cmd=["sh", "-c", "echo first; cat"])
            refused = dev.argosy("deploy", "--image", first, "--name", "agent", expect=None)
            assert "not signed in" in refused.err + refused.out

            login = tmp_path / "registry.json"
            login.write_text(f'{{"host": "{private.host}", "username": "acme"}}')
            (tmp_path / "password").write_text("secret-word")
            with (tmp_path / "password").open() as password:
                said = dev.argosy(
                    "registry", "apply", "ours", str(login), "--credential-stdin", stdin=password
                )
            assert said.out == "ours: revision 1.\n"
            dev.argosy("deploy", "--image", first, "--name", "agent")
            assert dev.argosy("invoke", "agent", "-m", "hello").out == "first\nhello\n"

            private.push("agent:1", [shell], Cmd=["sh", "-c", "echo second; cat"])
            assert dev.argosy("invoke", "agent", "-m", "hello").out == "first\nhello\n"
            dev.argosy("deploy", "--image", first, "--name", "agent")
            assert dev.argosy("invoke", "agent", "-m", "hello").out == "second\nhello\n"

            private.stop()
            dev.argosy("deployment", "rollback", "agent")
            assert dev.argosy("invoke", "agent", "-m", "hello").out == "first\nhello\n"
            shown = dev.argosy("registry", "show", "ours").out
    assert "kept in the vault" in shown
    assert "secret-word" not in shown
