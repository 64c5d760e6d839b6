"""In a build sandbox with a door to the index: download one file and check its digest.

Nothing of it is run. Reads {"url", "sha256", "into"} from standard input. What is in the way is its
last line of standard error. Credentials in the URL are for its own host: a redirect does not take
them along. Standard library only; nothing of Argosy is in that sandbox.
"""

import base64
import hashlib
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

CHUNK = 1 << 20
SECONDS = 60  # of silence
SCHEMES = ("http", "https", "file")


def main() -> None:
    asked = json.load(sys.stdin)
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(request(asked["url"]), timeout=SECONDS) as answer,  # noqa: S310
            open(asked["into"], "wb") as file,  # noqa: PTH123, a path as it was given
        ):
            while data := answer.read(CHUNK):
                digest.update(data)
                file.write(data)
    except (OSError, urllib.error.URLError, ValueError) as error:
        sys.exit(str(error))
    if digest.hexdigest() != asked["sha256"]:
        sys.exit("Hash mismatch: the index serves another file than it announced.")


def request(url: str) -> urllib.request.Request:
    """Return the request, with what stands before the host's name as its credentials."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"The index names a file by {parts.scheme!r}, not by http(s).")
    user, at, host = parts.netloc.rpartition("@")
    made = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=host)))  # noqa: S310
    if at:
        plain = urllib.parse.unquote(user if ":" in user else f"{user}:").encode()
        made.add_unredirected_header("Authorization", f"Basic {base64.b64encode(plain).decode()}")
    return made


if __name__ == "__main__":
    main()
