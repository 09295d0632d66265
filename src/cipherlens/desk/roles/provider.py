"""The provider: a server of one run in a process of its own, as ``cipherlens serve`` starts it.

``python -m cipherlens.desk.roles.provider RUN PORT TOKENS PARENT``
"""

import sys
from pathlib import Path

from cipherlens.desk.roles.children import step_back
from cipherlens.service.app import Server, create_app
from cipherlens.service.batching import Limits
from cipherlens.service.models import open_models
from cipherlens.service.place import Place
from cipherlens.service.serve import serve
from cipherlens.service.tokens import Guard


def main(run: str, port: str, tokens: str, parent: str) -> None:
    """Serve until the page's process ends."""
    step_back(parent)
    server = Server(open_models([f"run={run}"]), Limits(), Guard(Path(tokens)))
    serve(create_app(server), Place(port=int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
