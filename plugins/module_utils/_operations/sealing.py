# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seal the plan of a quote, so that it is bought exactly as it stands or not at all: see `_provision.sealed`."""

from __future__ import annotations

import json

from .._ansible import steps
from .._ansible.operation import Params, Result, on_api, refusing
from .._api.market import Market
from .._provision import sealed, sending
from .._provision.rounds import published
from .._registry._files import as_registry_error, write_durably
from .._registry._protocol import RegistryError
from .procure_offer import checked_body


def seal(_api: Market, params: Params, check_mode: bool) -> Result:
    """Seal the plan of all hosts, write it if a file is named, and publish it as a text, which AWX leaves unchanged.

    Raises Failure for an order that a purchase would refuse, and if a host has neither a machine nor an offer.
    """
    token = params["api_token"]
    orders = {host: sending.order_digests(checked_body(body)[0], token, {}) for host, body in params["orders"].items()}
    with refusing(ValueError, error_class="capacity"):
        plan = sealed.sealed_with_orders(params["plan"], orders, token)
    if file := sealed.file_to_write(params["quote_file"], check_mode):
        with refusing(RegistryError), as_registry_error(f"The plan cannot be written to {file}"):
            write_durably(file, json.dumps(plan, indent=1) + "\n")  # readable for people
    return {"changed": bool(params["quote_file"]), **published({"plan": json.dumps(plan)})}


SEAL = on_api(Market, seal, steps.SEAL)
