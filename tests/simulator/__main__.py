# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m simulator``: the sandbox in the foreground, until it is interrupted or terminated."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import shlex
import signal
import sys
import threading
from datetime import datetime, timedelta

from .catalogue import default_offers, machines_on_this_computer
from .instances import loopback_socket
from .like import Unreadable, switches
from .market import utc_now
from .server import Simulator
from .settings import Settings


def arguments() -> argparse.Namespace:
    """Parse the options: switches for people who try things out, and those of a recording. Tests use all others."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="A sandbox of the Supply API with machines on this computer.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1, if it is free; else another")
    parser.add_argument("--token", default=Settings.token, help="the bearer token that is let in")
    parser.add_argument("--provision-seconds", type=float, default=15, help="from purchase to ready")
    parser.add_argument("--procure-seconds", type=float, default=1, help="how long a purchase blocks")
    parser.add_argument("--delete-seconds", type=float, default=5, help="from DELETE to deleted")
    parser.add_argument("--ssh-delay-seconds", type=float, default=0, help="from ready to a listening SSH port")
    parser.add_argument("--vocabulary", choices=["A", "B"], default="A", help="words of procurement_status")
    parser.add_argument("--stock", type=int, default=4, help="copies of each offer of the catalogue")
    parser.add_argument(
        "--registry", choices=["files", "postgresql"], default="files", help="postgresql: a database for controllers"
    )
    parser.add_argument(
        "--environment-file", metavar="PATH", help="a file for shells, there from when it answers until it ends"
    )
    parser.add_argument("--clock-file", metavar="PATH", help="a file with the seconds that its clock is ahead")
    parser.add_argument("--like", metavar="RECORDING", help="behave as the API that the playbook probe has recorded")
    like = parser.parse_args().like
    try:
        # An option beats the recording.
        parser.set_defaults(**switches(like) if like else {})
    except Unreadable as error:
        parser.error(str(error))
    return parser.parse_args()


def for_shells(exports: str) -> str:
    """The environment file: how to reach the API, and where this sandbox's Ansible and collection are.

    PATH needs no ``export``, and has none, since programs read only the lines that begin with it.
    """
    folder = shlex.quote(os.path.dirname(sys.executable))
    lines = f'{exports}PATH={folder}:"$PATH"\n'
    collections = os.environ.get("ANSIBLE_COLLECTIONS_PATH")
    if collections:
        others = "${ANSIBLE_HOME:-$HOME/.ansible}/collections:/usr/share/ansible/collections"
        lines += f'ANSIBLE_COLLECTIONS_PATH={shlex.quote(collections)}:"{others}"\nexport ANSIBLE_COLLECTIONS_PATH\n'
    return lines


def moved(file: str) -> datetime:
    """The time by the file that says how far it is ahead."""
    with open(file, encoding="utf-8") as ahead:
        return utc_now() + timedelta(seconds=float(ahead.read()))


def main() -> int:
    """Run until ctrl-c or SIGTERM."""
    options = vars(arguments())
    port, stock, file = options.pop("port"), options.pop("stock"), options.pop("environment_file")
    shared = options.pop("registry") == "postgresql"
    clock_file, _like = options.pop("clock_file"), options.pop("like")
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("simulator").setLevel(logging.INFO)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        loopback_socket(port).close()
    except OSError:
        port = 0
    offers = [each for copy in range(stock) for each in machines_on_this_computer(default_offers())]
    with contextlib.ExitStack() as running:
        clock = functools.partial(moved, clock_file) if clock_file else None
        simulator = running.enter_context(Simulator(Settings(**options), offers, port=port, clock=clock))
        # A line each: neither is broken on 80 columns, so both can be copied.
        exports = (
            f"export COMPUTE_INDEX_API_URL={simulator.url}\n"
            f"export COMPUTE_INDEX_API_TOKEN={shlex.quote(simulator.settings.token)}\n"
        )
        if shared:
            import postgresql

            url = running.enter_context(postgresql.server())
            exports += f"export COMPUTE_INDEX_REGISTRY_URL={shlex.quote(url)}\n"
        print(simulator.url)
        if file:
            with open(f"{file}.tmp", "w", encoding="utf-8") as written:
                written.write(for_shells(exports))
            os.replace(f"{file}.tmp", file)
            exports = f". {shlex.quote(os.path.abspath(file))}\n"
        print(f"In another terminal, in any folder:\n{exports}Stop with ctrl-c.", flush=True)
        stop.wait()
        if file:
            with contextlib.suppress(FileNotFoundError):  # another sandbox has written and removed it
                os.unlink(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
