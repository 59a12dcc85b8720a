# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many resources by their ids, as their vendors see them now; and how many requests are sent at the same moment."""

from __future__ import annotations

import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor

from .._api.client import ApiError, Json, SupplyApi
from .._provision.holdings import links_in

List = t.Callable[[], "list[Json]"]  # the resources that the API lists; raises ApiError

MOST_THREADS = 8  # the client's session keeps up to ten connections

_Item = t.TypeVar("_Item")
_Answer = t.TypeVar("_Answer")


def side_by_side(ask: t.Callable[[_Item], _Answer], items: t.Collection[_Item]) -> list[_Answer]:
    """What ``ask`` answers for each of these, in their order. Raises what one of them raises."""
    with ThreadPoolExecutor(max(1, min(MOST_THREADS, len(items)))) as pool:
        return list(pool.map(ask, items))


def answer_of(api: SupplyApi, resource_id: str, retries: int | None = None) -> Json | ApiError:
    """What the API answers about a resource. A list lags; this does not (``force_refresh``).

    ``retries``: after passing errors; None for as many as the task allows.
    """
    try:
        return api.resource(resource_id, force_refresh=True, retries=retries)
    except ApiError as error:
        return error


def ask_by_id(api: SupplyApi, ids: t.Iterable[str], retries: int | None = None) -> dict[str, Json | ApiError]:
    """The same about each of these ids, in their order."""
    wanted = sorted(set(ids))
    return dict(zip(wanted, side_by_side(lambda resource_id: answer_of(api, resource_id, retries), wanted)))


def ask_with_links(api: SupplyApi, ids: t.Iterable[str], retries: int | None = None) -> dict[str, Json | ApiError]:
    """The same, and what the API answers about storage that only the machines among these name."""
    answers = ask_by_id(api, ids, retries)
    return {**answers, **ask_by_id(api, links_in(answers.values()).difference(answers), retries)}


def read_by_id(api: SupplyApi, ids: t.Iterable[str], retries: int | None = 0) -> dict[str, Json | None]:
    """The resources with these ids, and the storage that they name; None for a 404, which proves nothing by itself.

    One that cannot be read is left out.
    """
    return {
        resource_id: None if isinstance(answer, ApiError) else answer
        for resource_id, answer in ask_with_links(api, ids, retries).items()
        if not isinstance(answer, ApiError) or answer.error_class == "not_found"
    }


def read_each_by_id(api: SupplyApi, ids: t.Iterable[str], retries: int | None = None) -> dict[str, Json | None]:
    """The resources with these ids, None for a 404, which proves nothing. Raises ApiError if one cannot be read."""
    answers = ask_by_id(api, ids, retries)
    for answer in answers.values():
        if isinstance(answer, ApiError) and answer.error_class != "not_found":
            raise answer
    return {resource_id: None if isinstance(answer, ApiError) else answer for resource_id, answer in answers.items()}


class Listing:
    """The list of all resources: read once, by the first thread that needs it, and only if one does."""

    def __init__(self, api: SupplyApi, retries: int | None = 0) -> None:
        """``retries``: after passing errors; None for as many as the task allows."""
        self._api, self._retries = api, retries
        self._lock = threading.Lock()
        self._answer: list[Json] | ApiError | None = None

    def __call__(self) -> list[Json]:
        with self._lock:
            if self._answer is None:
                try:
                    self._answer = self._api.resources(retries=self._retries)
                except ApiError as error:
                    self._answer = error
        if isinstance(self._answer, ApiError):
            raise self._answer
        return self._answer
