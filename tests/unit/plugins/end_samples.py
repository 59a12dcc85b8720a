# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans of ends, with registries on disk and an API that answers from a dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._operations import end as operation

from ends import params

Json = dict[str, Any]
NOW = 1_800_000_000.0


def machine(key: str, name: str = "gpu-1", offer: str | None = "o", **fields: Any) -> Json:
    page = {
        "resource_id": key,
        "name": name,
        "offer_id": offer,
        "status": "running",
        "created_at": None,
        "vendor": "v",
    }
    return {**page, "price_per_hour": 2.4, **fields}


class Api:
    """The reads of the client. ``unlisted``: machines with a page that the list omits.

    ``unreadable_id``: the id whose page answers 500. ``status_ids``: the ids in the statuses of offers.
    """

    ahead = 0.0

    def __init__(
        self,
        *listed: Json,
        unlisted: tuple[Json, ...] = (),
        phases: Json | None = None,
        list_error: int = 0,
        unreadable_id: str = "",
        status_ids: tuple[str, ...] = (),
    ) -> None:
        self.listed, self.unlisted, self.phases = list(listed), unlisted, phases or {}
        self.list_error, self.unreadable_id, self.status_ids = list_error, unreadable_id, list(status_ids)
        self.requests: list[str] = []

    def resources(self, retries: int | None = None) -> list[Json]:
        self.requests.append("list")
        if self.list_error:
            raise ApiError(f"GET /resources answered {self.list_error}.", "unavailable")
        return list(self.listed)

    def resource(self, resource_id: str, *, force_refresh: bool = False, retries: int | None = None) -> Json:
        self.requests.append(resource_id)
        assert force_refresh
        if resource_id == self.unreadable_id:
            raise ApiError(f"GET /resources/{resource_id} answered 500.", "unavailable", transient=True)
        for each in (*self.unlisted, *self.listed):
            if each["resource_id"] == resource_id:
                return each
        raise ApiError(f"GET /resources/{resource_id} answered 404.", "not_found")


def write(folder: Path, host: str, text: str | None = None, **variables: Any) -> Path:
    file = folder / host / "compute_index_supply.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    entry = {f"provision_{name}": value for name, value in variables.items()}
    file.write_text(yaml.safe_dump(entry) if text is None else text)
    return file


def declared(host: str, folder: Path | str, **fields: Any) -> Json:
    known = {
        "id": host,
        "host": host,
        "name": host,
        "resource_id": "",
        "project": "default",
        "registry_dir": str(folder),
        "inventory_dir": None,
    }
    return {**known, "listed_id": "", "declares": False, "known": {}, **fields}


def offer_statuses(api: Api, offers: Json) -> Json:
    """The statuses of offers by ``api.phases``, in place of the real function, which has its own tests."""
    wanted = sorted(offers)
    api.requests += wanted
    unknown = {"phase": None, "error_class": "not_found", "msg": "answered 404.", "resource_ids": []}
    known = {key: {"phase": phase, "resource_ids": api.status_ids} for key, phase in api.phases.items()}
    return {offer_id: known.get(offer_id, unknown) for offer_id in wanted}


def plans(api: Api, *hosts: Json, check_mode: bool = False, **given: Any) -> Json:
    """Run the step `end`; in the result, ``ends`` is a list."""
    given = {"hosts": list(hosts), "ids": [host["id"] for host in hosts], "here": "/", **given}
    with patch.object(operation, "offer_statuses", offer_statuses):
        found = operation.end(api, params(steps.END, **given), check_mode)  # type: ignore[arg-type]
    return {**found, "ends": list(found["ends"].values())}


def ended_answer(key: str) -> Json:
    return {"resource_id": key, "billing_stopped": True, "msg": "deleted"}


def failed_answer(key: str) -> Json:
    return {"resource_id": key, "billing_stopped": False, "msg": f"{key} may run.", "error_class": "conflict"}
