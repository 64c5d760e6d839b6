"""Needs a package: `requirements.txt` is installed once, from wheels, into a layer of its own.

    argosy deploy examples/requirements --name punycode
    argosy invoke punycode -m "bücher.example"
"""

import idna


def main(request):
    """Called with the request, for there is no `handler`."""
    return idna.encode(request["message"].strip()).decode()
