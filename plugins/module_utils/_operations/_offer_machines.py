# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines an offer has, as a purchase sees them: every id that a purchase names comes from here."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

from .._api.client import ApiError, Json, SupplyApi
from .._provision import ownership
from .._provision.holdings import Look
from .._provision.ownership import OwnershipClaim
from .._provision.purchase import (
    UNSEEN,
    OfferLook,
    Past,
    ids_of,
    is_left,
    lists_machines,
    told_apart,
    whose_by_name,
)
from ._unlisted import read_by_id

_SHOWN = ("resource_id", "name", "status", "price_per_hour")


def asked_apart(
    api: SupplyApi,
    past: Past,
    offer_look: OfferLook,
    of_offer: tuple[str, t.Collection[str]],
    noted: t.Iterable[OwnershipClaim],
) -> OfferLook:
    """`told_apart` by the account's list; the same if that cannot be read."""
    with contextlib.suppress(ApiError):
        return told_apart(past, offer_look, of_offer, noted, lambda: api.resources(retries=0))
    return offer_look


class OfferMachines:
    """The machines of one offer, as the newest look has shown them.

    ``listed``: those that the API lists, whoever they belong to, in short. ``billed``: the ids of those that may be
    billed. ``unreadable``: why they cannot be listed. ``whose``: they are by their names.
    """

    def __init__(
        self, api: SupplyApi, offer_id: str, names: t.Collection[str], listed_before: t.Collection[str] = ()
    ) -> None:
        """``listed_before``: the ids of resources that were listed before the purchase, and named no offer."""
        self._api = api
        self._listed_before = listed_before
        self._offer_id = offer_id
        self._names = names
        self.listed: list[Json] = []
        self.billed: list[str] = []
        self.unreadable: ApiError | None = None
        self.whose = UNSEEN
        self._named: list[str] = []  # by the newest status
        self._resources: list[Json] = []
        self._filtered: list[Json] = []  # what the list with the filter of the offer has

    def bought(
        self,
        noted: t.Iterable[str],
        sent_at: float | None,
        doubted: t.Iterable[str] = (),
        listed_before: t.Iterable[str] = (),
    ) -> Look:
        """What shows what a purchase that is ours holds: what it noted before, and the newest look.

        What was noted, and the list of the offer's machines lacks, says itself with which offer it was bought.
        ``sent_at``: when it was sent (seconds since the epoch), None if that is unknown. ``doubted``: further ids that
        are read by themselves. ``listed_before``: ids of which an earlier look has found that.
        """
        listed = {resource["resource_id"]: resource for resource in self._resources if resource["resource_id"]}
        before = {*self._listed_before, *listed_before}
        look = Look(self._offer_id, tuple(noted), tuple(self._named), sent_at, listed, listed_before=before)
        return replace(look, read=read_by_id(self._api, {*look.doubtful, *doubted, *look.unlisted}))

    def are_anothers(self, ids: t.Iterable[str], sent_at: float | None) -> bool:
        """Whether one of these, which the answer to a purchase names, says that another offer has bought it."""
        return bool(self.bought(ids, sent_at).concluded[1])

    def look(self, status: Json, past: Past, noted_ids: t.Iterable[str]) -> OfferLook:
        """What the status of an offer that is bought, or bought and failed, shows with the list of its machines."""
        ids = ownership.ids_in(status)
        self._named, self._resources = list(ids), []
        ids = ids_of(status["phase"], ids, noted_ids)
        found = self._read(ids, ownership.ids_for_match(status)) if lists_machines(past, ids) else []
        self.billed = ownership.left_of(ownership.without_storage(ids, self._resources), found)
        left = is_left(status["phase"], self.billed, is_listed=self.unreadable is None)
        self.whose = whose_by_name(found, self._names)
        return OfferLook(status["phase"], self.whose, left, shown=bool(found))

    def listed_of(self, phase: str | None) -> OfferLook:
        """What the list has of an offer that its status does not call bought; nothing if it cannot be read."""
        found = self._read([], [])
        self._named, self.billed = [], ownership.ids_not_gone(found)
        return OfferLook(phase, whose_by_name(found, self._names), bool(self.billed), shown=bool(found))

    def failed_at_once(self, ids: list[str]) -> bool:
        """Whether it can be told what is left of a purchase that failed in its own answer, which named these ids."""
        self.billed = ids
        if ids:
            return True
        try:
            status = self._api.offer_status(self._offer_id)
        except ApiError as error:
            self.unreadable = error
            return False
        # Who is named there, and not in the answer, is proved like all others.
        self._named = ownership.ids_in(status)
        found = self._read(self._named, ownership.ids_for_match(status))
        self.billed = ownership.left_of(self._named, found)
        return bool(self.billed) or not self.unreadable

    def look_afterwards(self, nodes: int) -> None:
        """Look for the machines of a purchase whose answer did not name them; that fails must not hide the purchase.

        ``nodes``: how many machines the offer has.
        """
        with contextlib.suppress(ApiError):
            status = self._api.offer_status(self._offer_id, retries=0)
            self._named = ownership.ids_in(status)
            if not self._named:
                self._read([], ownership.ids_for_match(status))
                machines = ownership.machines_among(self._filtered)
                self._named = ownership.named_by_filter(machines, self._offer_id, status["procured_at"], nodes)

    def _read(self, ids: list[str], match: list[str]) -> list[Json]:
        """The machines of the offer: out of the list, and those that it leaves out by their ids."""
        self.unreadable, self._filtered = None, []
        try:
            self._filtered = self._api.resources(self._offer_id, retries=0)
            machines = ownership.bought_with(self._filtered, self._offer_id, [*ids, *match])
        except ApiError as error:
            self.unreadable = error
            machines = []
        # What a list lacks, or calls gone, says so itself.
        machines = ownership.refreshed(
            machines, read_by_id(self._api, set(ids).difference(ownership.ids_not_gone(machines)))
        )
        self._resources = machines
        machines = ownership.machines_among(machines)
        self.listed[:] = [{key: item[key] for key in _SHOWN} for item in machines]
        return machines
