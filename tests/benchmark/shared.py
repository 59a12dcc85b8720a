# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of a registry in PostgreSQL compared with files, with a history and without."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.compute_index.supply.plugins.module_utils._registry._statements import SCHEMA

import postgresql

from .measure import Commands, Usage, in_turn
from .provision import RUNS, provision
from .table import Row

FILES, SHARED, HISTORY = "files", "a shared registry", "one that knows {:,} ended purchases"
GOAL, CONNECTIONS = "10 ms beyond files", "20"
LOOK = 0.02
"""Seconds between two counts of the connections."""
_ENDED = """
INSERT INTO compute_index_supply.purchase (claim, project, host, account, offer, state, charged_price_per_hour, holder,
    held_until)
SELECT gen_random_uuid(), 'default', 'gpu-' || n %% 5000, 'account', gen_random_uuid()::text, 'ended', 2.5, '{}', now()
FROM generate_series(1, %(count)s) AS n
"""
_OPEN = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def registry_rows(commands: Commands, hosts: int, ended: int, rounds: int) -> list[Row]:
    """CPU time of a host with each registry, and how many connections to the database were open at once."""
    most: list[float] = []
    with postgresql.server() as url:

        def shared(history: int = 0) -> dict[str, Usage]:
            postgresql.forget(url)
            if history:
                postgresql.execute(url, SCHEMA)
                postgresql.execute(url, _ENDED, {"count": history})
            with counted(url) as seen:
                usages = provision(commands, hosts, environment={"COMPUTE_INDEX_REGISTRY_URL": url})
            most.append(max(seen))
            return usages

        known = HISTORY.format(ended)
        ways = {FILES: lambda: provision(commands, hosts), SHARED: shared, known: lambda: shared(ended)}
        measured = in_turn(ways, rounds)
    found = []
    for run in RUNS:
        of_files = [usages[run].cpu / hosts for usages in measured[FILES]]
        for way, each in measured.items():
            cpu = [usages[run].cpu / hosts for usages in each]
            beyond = 1000 * (statistics.median(cpu) - statistics.median(of_files))
            compared = ("", "") if way == FILES else (f"{beyond:.3g} ms beyond {FILES}", GOAL)
            found.append(Row(f"{hosts} hosts, {run}, a host: {way}", cpu, "s", *compared))
    return [*found, Row("connections to the database at once", most, "", "", CONNECTIONS)]


@contextmanager
def counted(url: str) -> Iterator[list[int]]:
    """How many connections are open, looked at until the block ends."""
    seen, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            ((count,),) = postgresql.execute(url, _OPEN)
            seen.append(count)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        yield seen
    finally:
        over.set()
        watch.join()
