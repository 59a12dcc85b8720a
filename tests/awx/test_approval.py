# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The approval itself shows what the quote costs, if the job may write to AWX."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from conftest import Job, MakeController

ORDER = {"order_names": "gpu-[1:2]", "order_gpu_type": "H100", "order_max_price_per_hour": 4, "order_lease": "8h"}


@contextmanager
def awx(status: int = 200) -> Iterator[tuple[str, list[tuple[str, str, Any, Any]]]]:
    """A server with the part of AWX that the job uses; yields its URL and the requests that it got."""
    seen: list[tuple[str, str, Any, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            seen.append((self.command, self.path, body, self.headers["Authorization"]))
            node = json.dumps({"results": [{"identifier": "approve", "unified_job_template": 42}]}).encode()
            self.send_response(status if self.command == "PATCH" else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(node)))
            self.end_headers()
            self.wfile.write(node)

        do_GET = do_PATCH = answer

        def log_message(self, *_words: Any) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


def test_approval_shows_the_quote(make_controller: MakeController) -> None:
    controller = make_controller()
    launched = {**ORDER, "awx_job_id": 7, "awx_workflow_job_id": 3}
    controller.environment["CONTROLLER_OAUTH_TOKEN"] = "between-us"
    with awx() as (url, seen):
        controller.environment["CONTROLLER_HOST"] = f"{url}/"
        alone = controller.run("GPU quote", {**ORDER, "awx_job_id": 7})
        assert (alone.status, seen) == ("successful", [])
        quote = controller.run("GPU quote", launched)
    assert quote.status == "successful", quote.output
    check_approval_was_written(quote, url, seen)

    # An approval that shows another quote's numbers would be worse than none.
    with awx(500) as (url, seen):
        controller.environment["CONTROLLER_HOST"] = f"{url}/"
        quote = controller.run("GPU quote", launched)
    assert quote.status == "failed", quote.output
    check_approval_was_written(quote, url, seen)


def check_approval_was_written(quote: Job, url: str, seen: list[tuple[str, str, Any, Any]]) -> None:
    """The job read the approval and wrote the quote to it, once each, and the token is in no output."""
    (get, patch) = seen
    assert get[:2] == ("GET", "/api/v2/workflow_jobs/3/workflow_nodes/?identifier=approve")
    assert patch[:2] == ("PATCH", "/api/v2/workflow_approval_templates/42/")
    assert patch[3] == "Bearer between-us" and "between-us" not in quote.output
    summary = quote.artifacts["quote"]["summary"]
    assert summary.startswith("gpu-1, gpu-2: USD 4.50 per hour, at most USD 36.00 in all until 20")
    assert "; offers hold until 20" in summary
    assert patch[2] == {
        "name": f"Buy what was quoted: {summary}",
        "description": f"{summary}. The quote: {url}/#/jobs/playbook/7/output",
    }
