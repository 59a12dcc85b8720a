# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what the market has at all."""

from __future__ import annotations

from .. import _spec
from .._ansible.operation import Params, Result, on_api
from .._api.market import Market


def catalog_info(api: Market, params: Params, check_mode: bool) -> Result:
    """One of the API's catalogues, as the API answers it."""
    return {"changed": False, "catalog": api.catalog(params["kind"])}


CATALOG_INFO = on_api(Market, catalog_info, _spec.CATALOG_INFO)
