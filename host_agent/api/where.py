"""Where the local API is found: on loopback, its port and its token in files of the data directory.

Apart from the server, for who only asks need not load it.
"""

from __future__ import annotations

TOKEN_FILE = "api-token"  # noqa: S105  # the name of the file, not a token
PORT_FILE = "api-port"
HOST = "127.0.0.1"
