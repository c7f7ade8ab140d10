"""A web server of a folder, to this machine alone."""

import contextlib
import functools
import http.server
import mimetypes
import os
import sys
from pathlib import Path

from support import UserError

ADDRESS = "127.0.0.1"
PORTS = range(8000, 8100)  # of which the first free one is taken


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder's files, and no lists of them; a browser asks again after a new build. Types are what they are
    whatever the system says: a browser refuses modules of another type."""

    extensions_map = mimetypes.MimeTypes().types_map[True]  # Python's own

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def list_directory(self, path: str) -> None:
        self.send_error(404)

    def log_message(self, *_) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """A server to this machine alone, whose port is its own; browsers may leave at any moment."""

    allow_reuse_address = os.name != "nt"  # there it would let two servers have one port
    allow_reuse_port = False

    def handle_error(self, *request) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*request)


def listen(folder: Path, port: int | None) -> Server:
    """A server of a folder at a port, or at the first free one. Raises UserError where it cannot be had."""
    for candidate in PORTS if port is None else [port]:
        try:
            return Server((ADDRESS, candidate), functools.partial(Handler, directory=str(folder.resolve())))
        except (OSError, OverflowError) as error:
            cause = error
    raise UserError(f"port {candidate} of {ADDRESS} could not be used ({cause}): name another with --port")


def serve(server: Server) -> None:
    """Serve until Ctrl-C or SIGTERM, which is how a server ends."""
    with contextlib.suppress(KeyboardInterrupt):
        print(f"http://{ADDRESS}:{server.server_port}/  (Ctrl-C ends)", flush=True)
        server.serve_forever()
