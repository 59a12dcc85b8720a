# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time and memory to read a ledger of files, and to report its spending.

    python -m benchmark.ledger [--purchases 100000] [--running 20]

Each measurement is a Python of its own: seconds from its start to its end, and the most memory that it had.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

SUPPLY = "ansible_collections.compute_index.supply.plugins.module_utils"
NOW = 1_790_000_000
MONTH = 30 * 86_400
READ = f"""
from {SUPPLY}._registry._stores import ledger
found = ledger({{folder!r}}, {{since}})
print(len(found.bills), "purchases")
"""
SPEND = f"""
import os, sys
from {SUPPLY}._operations.spend import SPEND
host = {{{{"host": "gpu-1", "project": "default", "registry_dir": {{folder!r}}, "inventory_dir": None, "name": "gpu-1",
           "declares": True, "known": {{{{}}}}}}}}
given = {{{{"hosts": [host], "limited": False, "since": {{since}} or None, "sources": [], "here": {{folder!r}},
            "api_url": "https://api.example.com", "registry_url": None, "elsewhere": [], "troubles": []}}}}
if given["since"]:
    given["since"] = __import__("datetime").datetime.fromtimestamp(given["since"]).isoformat()
found = SPEND.function(given, False)
print(len(found["spend"]["purchases"]), "purchases,", found["lines"][-1])
"""
LOOKS = {
    "read all": (READ, 0),
    "read a month": (READ, NOW - MONTH),
    "spend all": (SPEND, 0),
    "spend a month": (SPEND, NOW - MONTH),
}


def lines(purchases: int, running: int) -> Iterator[dict[str, object]]:
    """The lines of purchases in the order of their moments: the newest may still run, the others have ended."""
    chance = random.Random(7)
    due: list[tuple[int, int, dict[str, object]]] = []  # ends that come later; all of them would fill the memory
    for number in range(purchases):
        begin = NOW - 3 * 365 * 86_400 + number * (3 * 365 * 86_400 - 86_400) // purchases
        end = begin + chance.randrange(600, 80_000)
        while due and due[0][0] <= begin:
            yield heapq.heappop(due)[2]
        offer, machine = (str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _what in range(2))
        host, price = f"gpu-{number % 500}", chance.choice([1.2, 2.4, 3.333333, 19.2])
        known = {"groups": ["gpu", "training"], "name": host, "project": "default", "journaled_at": utc(begin)}

        def line(event: str, at: int, ids: list[str], **more: str) -> dict[str, object]:
            told = {"offer_id": offer, "resource_ids": ids, "price_per_hour": price, **known}  # noqa: B023
            return {"event": event, "at": utc(at), "host": host, **told, "run": f"{at:012x}", **more}  # noqa: B023

        yield line("sent", begin, [])
        yield line("made", begin + 3, [machine])
        if number < purchases - running:
            heapq.heappush(due, (end, number, line("ended", end, [machine], why="decommissioned")))
    for _at, _number, last in sorted(due, key=lambda each: each[:2]):
        yield last


def utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def measure(program: str) -> tuple[float, float, float, str]:
    """Seconds of the clock and of the processor, the peak of memory (MB), and the output of the program."""
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    told = child.stdout.read()
    _pid, code, usage = os.wait4(child.pid, 0)
    if code:
        sys.exit("The program has failed.")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, told.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--purchases", type=int, default=100_000)
    parser.add_argument("--running", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, ".compute_index_supply.ledger")
        with path.open("w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines(options.purchases, options.running))
        print(f"{options.purchases} purchases, {path.stat().st_size / 1e6:.0f} MB")
        for name, (program, since) in LOOKS.items():
            seconds, busy, memory, told = measure(program.format(folder=folder, since=since))
            print(f"{name:14} {seconds:6.2f} s ({busy:.2f} s of CPU) {memory:6.0f} MB  {told}")


if __name__ == "__main__":
    main()
