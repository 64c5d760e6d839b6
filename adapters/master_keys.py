"""The key that the vault is opened with: 32 bytes, from the environment or from a file."""

import base64
import binascii
from contextlib import suppress
from pathlib import Path

from adapters.settings import Settings
from adapters.vault import VaultLocked

KEY_BYTES = 32
_MAKE = "`openssl rand -hex 32` makes one"


def has_master_key(settings: Settings) -> bool:
    """Whether this process was given a key; if not, it can do without secrets only."""
    return bool(settings.master_key.reveal()) or settings.master_key_file != Path()


def read_master_key(settings: Settings) -> bytes:
    """Return the key. Raises VaultLocked, saying where it was looked for and never what was found.

    A file may be readable for others: it is the operator who knows who they are.
    """
    given, file = settings.master_key.reveal(), settings.master_key_file
    if given and file != Path():
        raise VaultLocked("ARGOSY_MASTER_KEY and ARGOSY_MASTER_KEY_FILE are both set; unset one.")
    if given:
        return decode_key(given, "ARGOSY_MASTER_KEY is not a key")
    if file == Path():
        raise VaultLocked(
            "There is no master key, and this process works with secrets. Set ARGOSY_MASTER_KEY to "
            f"32 bytes in hex or base64 ({_MAKE}), or ARGOSY_MASTER_KEY_FILE to a file with them."
        )
    try:
        text = file.read_text()
    except OSError as error:
        why = error.strerror
    except UnicodeDecodeError:
        why = "it is not text"
    else:
        return decode_key(text, f"What is in ARGOSY_MASTER_KEY_FILE, {file}, is not a key")
    raise VaultLocked(
        f"The master key cannot be read from ARGOSY_MASTER_KEY_FILE, {file}: {why}. "
        "Put the file back, or name the one that has the key."
    )


def decode_key(text: str, otherwise: str) -> bytes:
    """Return the key that a text is. Raises VaultLocked, which begins with `otherwise`."""
    text = text.strip()
    with suppress(ValueError):
        if len(found := bytes.fromhex(text)) == KEY_BYTES:
            return found
    with suppress(ValueError, binascii.Error):
        padded = text.replace("-", "+").replace("_", "/").rstrip("=") + "="
        if len(found := base64.b64decode(padded, validate=True)) == KEY_BYTES:
            return found
    raise VaultLocked(f"{otherwise}: 32 bytes in hex or base64 are one; {_MAKE}.")
