# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that a list leaves out. This module util is private to the collection."""

from __future__ import annotations

import contextlib
import typing as t

from .._api import ApiError, Json, SupplyApi
from ._threads import side_by_side


def unlisted(api: SupplyApi, ids: t.Iterable[str], machines: t.Iterable[Json]) -> list[Json]:
    """The machines with these ids that are not among those listed, each by its own page: some APIs do not list what is
    deleted. One that cannot be read is left out, since nobody says that it is gone.
    """
    listed = {machine["resource_id"] for machine in machines}
    found = []
    for resource_id in dict.fromkeys(ids):
        if resource_id not in listed:
            with contextlib.suppress(ApiError):
                found.append(api.resource(resource_id, retries=0))
    return found


def read_by_id(api: SupplyApi, ids: t.Collection[str]) -> dict[str, Json | None]:
    """The resources with these ids as their vendors see them now, None for a 404; left out if one cannot be read."""
    if not ids:
        return {}

    def read(resource_id: str) -> tuple[str, Json | None] | None:
        try:
            return resource_id, api.resource(resource_id, force_refresh=True, retries=0)
        except ApiError as error:
            return (resource_id, None) if error.error_class == "not_found" else None

    return dict(filter(None, side_by_side(read, sorted(ids))))
