# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator as a whole: a real HTTP server in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import uvicorn

from .app import create_app
from .catalogue import default_offers
from .faults import Fault
from .fleet import Fleet
from .instances import InstanceBackend, SshBackend, loopback_socket
from .market import Address, Clock, Market, Offer, Purchase, Resource, utc_now
from .settings import Settings
from .wire import Request, Wire


class Simulator:
    """A context manager: the API answers at ``url`` from its beginning to its end, then all machines are gone.

    ``offers=None`` starts with the default catalogue, ``offers=[]`` with an empty market. ``port=0`` takes a free one.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        offers: Iterable[Offer] | None = None,
        *,
        port: int = 0,
        clock: Clock | None = None,
        backend: InstanceBackend | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.market = Market(self.settings, clock or self._now)
        self.backend: InstanceBackend = backend or SshBackend(self.settings)
        self.fleet = Fleet(self.market, self.backend)
        self.wire = Wire(create_app(self.market, self.fleet), self._disconnect, self.market.clock)
        self.url = ""
        self.offers: dict[str, Offer] = self.market.offers
        """Every offer that was ever listed, by id."""
        self.purchases: list[Purchase] = self.market.purchases
        """All purchases that took place, in order."""
        self.resources: dict[str, Resource] = self.market.resources
        """Every machine that was ever bought, and all persistent storage, by id."""
        self.requests: list[Request] = self.wire.requests
        """Every request, in order of arrival."""
        self.faults: list[Fault] = self.wire.faults
        """The rules in force."""
        for offer in default_offers() if offers is None else offers:
            self.market.list_offer(offer)
        self._port = port
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.wire,
                http="h11",
                ws="none",
                lifespan="off",
                proxy_headers=False,
                date_header=False,  # it has a clock of its own
                access_log=False,
                log_level="error",
            )
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="simulator", daemon=True)
        self._stop: Callable[[], object] = lambda: None

    def __enter__(self) -> Simulator:
        self._socket = loopback_socket(self._port)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the simulator did not start")
            time.sleep(0.001)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread.is_alive():
            self._stop()
            self._thread.join()

    async def _serve(self) -> None:
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        loop = self._loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(serving.cancel)
        # Not uvicorn's own way to stop, which waits for clients: they may hang in a fault, on purpose.
        with suppress(asyncio.CancelledError):
            await serving
        for server in self._server.servers:
            server.close()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # lets the connections notice
        await self.fleet.close()

    def _now(self) -> datetime:
        return utc_now() + timedelta(seconds=self.settings.clock_ahead)

    def _disconnect(self, client: tuple[str, int]) -> None:
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == client:
                connection.transport.close()

    @property
    def billed(self) -> list[str]:
        """Ids of the resources that cost money now: all that are not yet deleted."""
        now = self.market.clock()
        return [name for name, each in list(self.resources.items()) if each.status_at(now) != "deleted"]

    @property
    def bill(self) -> dict[str, float]:
        """USD that each purchase has cost until now, by its offer, with its storage."""
        return self.market.bill()

    @property
    def meter(self) -> dict[str, float]:
        """USD that each resource has cost until now, by its id."""
        return self.market.meter()

    def add_offer(self, **fields: Any) -> Offer:
        """List an offer with these fields of ``Offer``; the others have its defaults."""
        return self.market.list_offer(Offer(**fields))

    def populate(self, count: int, **fields: Any) -> list[Resource]:
        """Buy ``count`` offers, in turn those of the catalogue for just one machine, with these fields of ``Offer``.

        The machines run at once, however many: nothing boots, and nothing answers at their documentation addresses.
        """
        before = len(self.resources)
        singles = [each for each in default_offers() if not (each.node_count or each.persistent)]
        for number, offer in enumerate(islice(cycle(singles), count), start=before + 1):
            listed = self.market.list_offer(replace(offer, **fields))
            self.market.procure(listed.offer_id, {"ssh_public_key": "", "resource_name": f"machine-{number}"})
        bought = [each for each in list(self.resources.values())[before:] if not each.volume]
        for number, resource in enumerate(bought, start=before):
            resource.purchase.provision_seconds = 0
            # The range has fewer addresses than there may be machines: some share one, on different ports.
            resource.address = Address(f"192.0.2.{number % 254 + 1}", 22000 + number // 254)
        return bought

    def vanish(self, resource_id: str) -> None:
        """End a machine without a request, as a vendor ends a spot machine."""

        async def end() -> None:
            await self.fleet.remove(self.market.vanish(resource_id))

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()

    def hide(self, *resource_ids: str) -> None:
        """Let the API no longer show exactly these machines, although they run and are billed."""
        self.market.hidden = frozenset(resource_ids)

    def home(self, resource_id: str) -> Path:
        """The machine's home folder; it exists while the machine is up."""
        return self.backend.folder(resource_id) / "home"

    def user_data(self, resource_id: str) -> str | None:
        """The cloud_init that a running machine got."""
        path = self.backend.folder(resource_id) / "user-data"
        return path.read_bytes().decode() if path.exists() else None
