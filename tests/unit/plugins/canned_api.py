# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API client with a canned answer instead of a server, and a call of each of its methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._api.http import Answer
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market

from samples import KEY, OFFER_ID, RESOURCE_ID

# Parts of USER_DATA that must never be shown
SECRETS = ("hunter22", "w0rd-w1th-qu0tes", "\u00fcber-secret-word")
USER_DATA = (
    '#cloud-config\nchpasswd:\n  list: root:hunter22\nruncmd:\n- echo "w0rd-w1th-qu0tes"\n- [\u00fcber-secret-word]\n'
)
ORDER = {"offer_id": OFFER_ID, "ssh_public_key": KEY, "cloud_init": USER_DATA}

# Calls each method of the API with sample arguments.
METHODS: dict[str, Callable[[Market], Any]] = {
    "search_offers": lambda api: api.search_offers({"compute": {"gpu_type": "H100"}}),
    "offer": lambda api: api.offer(OFFER_ID),
    "offer_status": lambda api: api.offer_status(OFFER_ID),
    "resources": lambda api: api.resources(OFFER_ID),
    "resource": lambda api: api.resource(RESOURCE_ID),
    "catalog": lambda api: api.catalog("gpus"),
    "procure": lambda api: api.procure(ORDER, timeout=600),
    "delete_resource": lambda api: api.delete_resource(RESOURCE_ID, force=False),
}
METHOD = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


class Canned:
    """Replaces the HTTP client; gives the same answer to each request."""

    base_url = "https://supply-api.example.com"

    def __init__(self, data: Any = None, status: int = 200, *, is_json: bool = True, **facts: Any) -> None:
        self.answer = Answer(status, is_json, data, **facts)

    def exchange(self, *_request: Any, **_how: Any) -> Answer:
        return self.answer

    def hide(self, *_secrets: str) -> None:
        pass

    def redact(self, text: str) -> str:
        return text


def canned(data: Any = None, status: int = 200, **facts: Any) -> Market:
    http: Any = Canned(data, status, **facts)
    return Market(http)


def error_of(method: Callable[[Market], Any], api: Market) -> ApiError:
    with pytest.raises(ApiError) as caught:
        method(api)
    return caught.value
