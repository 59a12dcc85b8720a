# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of fixed answers, in threads of the measuring program, so that its CPU time does not count."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import trustme

Answer = Callable[[str, dict[str, str], bytes], bytes | None]
"""The answer to a path, its query and its body; None for a 404."""


class Server:
    """A context manager: answers are served at ``url``; over TLS with a certificate that ``ca`` has signed."""

    def __init__(
        self, answer: Answer, folder: Path, *, tls: bool = True, delete: Callable[[str], None] | None = None
    ) -> None:
        """``delete``: takes the path of a DELETE, whose answer is empty."""
        self.ca = folder / "ca.pem"
        context = self._certified() if tls else None
        self.requests = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 60

            def setup(self) -> None:
                if context:
                    # The handshake is done here, in the connection's own thread.
                    self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def do_GET(self) -> None:
                owner.requests += 1
                parts = urlsplit(self.path)
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = answer(parts.path, dict(parse_qsl(parts.query)), sent)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body or b"{}")))
                self.end_headers()
                self.wfile.write(body or b"{}")

            do_POST = do_GET

            def do_DELETE(self) -> None:
                owner.requests += 1
                if delete:
                    delete(urlsplit(self.path).path)
                self.send_response(204 if delete else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_words: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_words: Any) -> None:
                """Ignore clients that have gone away."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}"

    def _certified(self) -> ssl.SSLContext:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        return context

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, name="server", daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
