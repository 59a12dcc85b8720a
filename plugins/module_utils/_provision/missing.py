# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines are missing, and what a run does about it.

A machine is *gone* only if its own page says so. It is *missing* if it existed before, and two looks, half an hour
apart, did not find it. In each look the machine's page is a 404 of the API itself, the complete list lacks it, and
another of our machines is found by its id. If all of ours vanish together, the look proves nothing: the account or the
address is probably wrong.

A missing machine may be billed, so its host keeps it. It only does not count in ceilings per hour (`ceilings.State`).
Pure.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, field, replace
from functools import cached_property

from .. import _states
from .._text import grouped, ids_in_words, ranges, usd
from . import ending, lease
from .ending import Action, ApiView, EndRequest
from .entry import MISSING_AT, MISSING_SINCE, Entry
from .lease import DATABASE_CLOCK, Clock
from .messages import forget_advice, missing_row
from .ownership import Account, Machine, id_of, offer_of
from .place import Place
from .standing import Status, look_at, storage_bought
from .storage import storage_changes

APART = 1800.0  # the least number of seconds between the two looks
_OTHERS = 3  # of our other machines to read if the list lacks any; several, since one may be unreadable right now

Row = dict[str, t.Any]


class Sight(enum.Enum):
    """The result of a look at one machine."""

    FOUND = "found"
    GONE = "gone"  # by its own page
    ABSENT = "absent"  # the API has no page for it, and the list lacks it
    UNKNOWN = "unknown"


class MissingStep(enum.Enum):
    """A change to a host's registry entry after a look."""

    FIRST = "first"  # the first look that did not find the machine
    SECOND = "second"  # the machine is missing
    CLEAR = "clear"  # found again
    END = "end"


@dataclass(frozen=True)
class MissingLook:
    """One look. ``machines``: the complete list of the account. ``at``: when the look began, by each clock.

    ``read``: our machines that were read, by id; None for a 404 of the API itself. ``tokens``: see `with_tokens`.
    """

    machines: t.Collection[Machine] = ()
    read: t.Mapping[str, Machine | None] = field(default_factory=dict)
    at: Clock = field(default_factory=lambda: Clock(0.0))
    tokens: frozenset[str] = frozenset()

    @cached_property
    def is_believed(self) -> bool:
        """Whether a machine that the look does not find may be missing: it found another of ours."""
        return any(self.sight(resource_id) is Sight.FOUND for resource_id in self.read)

    @cached_property
    def _listed(self) -> dict[str, Machine]:
        return _by_id(self.machines)

    @cached_property
    def _offers(self) -> set[str]:
        """The offers of the machines that are found, without those of storage, which may outlive its machine."""
        newest = ((item, self.read.get(id_of(item), item)) for item in self.machines if _states.is_machine(item))
        return {offer_of(item) for item, read in newest if read and not _states.is_gone(read["status"])} - {""}

    def sight(self, resource_id: str) -> Sight:
        """The result for one machine. Neither a list that calls it gone, nor a 404 while the list has it, is proof."""
        listed = self._listed.get(resource_id)
        machine = self.read.get(resource_id, listed)
        if machine is None:
            is_absent = listed is None and resource_id in self.read
            return Sight.ABSENT if is_absent else Sight.UNKNOWN
        if not _states.is_gone(machine["status"]):
            return Sight.FOUND
        return Sight.GONE if resource_id in self.read else Sight.UNKNOWN

    def sights(self, entry: Entry) -> set[Sight]:
        """The results for the machines of an entry, including any other machine of the same purchase that is found."""
        if not entry.resource_ids or entry.held_by:
            return {Sight.UNKNOWN}
        shown = {self.sight(resource_id) for resource_id in entry.resource_ids}
        return shown | ({Sight.FOUND} if entry.offer_id in self._offers else set())

    def with_tokens(self, own: str, entries: t.Iterable[Entry]) -> MissingLook:
        """The look with the digests of the account's tokens: this run's (``own``), and further or replaced ones.

        The API knows a machine in ``entries`` that such a token has bought.
        """
        known = {entry.token_digest for entry in entries if self.sights(entry) & {Sight.FOUND, Sight.GONE}}
        return replace(self, tokens=frozenset({own, *known}))

    def is_elsewhere(self, entry: Entry) -> bool:
        """Whether another account probably bought an entry's machines: the API knows none that its token has bought.

        Then they are neither missing nor this run's to end.
        """
        return entry.token_digest not in ("", *self.tokens) and self.sights(entry) == {Sight.ABSENT}

    def lacks(self, entry: Entry) -> bool:
        """Whether it finds no machine of an entry, although not all of them are known to have ended."""
        listed = (self._listed[item]["status"] for item in entry.resource_ids if item in self._listed)
        if not entry.resource_ids or not all(map(_states.is_gone, listed)):
            return False
        return not self.sights(entry) <= {Sight.GONE} and Sight.FOUND not in self.sights(entry)

    def asks_about(self, entry: Entry) -> bool:
        """Whether its offer's status is needed: all machines are gone, or absent or gone and never noted as ready."""
        sights = self.sights(entry)
        if entry.storage_of:
            return False
        return sights == {Sight.GONE} or (sights <= {Sight.GONE, Sight.ABSENT} and not entry.was_ready)

    def step(
        self, host: str, entry: Entry, place: Place, status: Status, account: t.Callable[[], Account]
    ) -> MissingStep | None:
        """The next step for a host's entry; None if nothing changes.

        ``status``: of its offer, if `asks_about` is true. ``account``: all machines, as they were read, and owners.
        """
        sights = self.sights(entry)
        if Sight.FOUND in sights:
            return MissingStep.CLEAR if entry.missing_since or entry.missing_at else None
        if sights == {Sight.GONE}:
            return MissingStep.END if entry.storage_of or _is_over(host, entry, status, account()) else None
        was_there = entry.was_ready or status.get("phase") in (_states.READY, _states.ENDED)
        is_lost = self.is_believed and was_there and not self.is_elsewhere(entry)
        if Sight.UNKNOWN in sights or entry.is_missing or not is_lost:
            return None
        first, began = lease.moment_of(entry.missing_since), self._began(entry, place)
        if first is None:
            return MissingStep.FIRST
        return MissingStep.SECOND if began - first >= APART else None

    def changes(self, step: MissingStep, entry: Entry, place: Place, now: float) -> Row:
        """The changes to the entry for a step. ``now``: by the registry's clock, after everything was read."""
        noted: dict[MissingStep, Row] = {
            MissingStep.FIRST: {MISSING_SINCE: lease.utc_rounded_up(now), MISSING_AT: None},
            MissingStep.SECOND: {MISSING_AT: lease.utc_rounded_up(self._began(entry, place))},
            MissingStep.CLEAR: {MISSING_SINCE: None, MISSING_AT: None},
        }
        return noted[step]

    def _began(self, entry: Entry, place: Place) -> float:
        """When the look began, by the registry's clock."""
        return self.at.now(DATABASE_CLOCK if place.keeps_sums else entry.clock)


def _by_id(machines: t.Iterable[Machine]) -> dict[str, Machine]:
    return {id_of(machine): machine for machine in machines}


def unknown_places(entries: t.Iterable[tuple[Place, str, Entry]], known: t.AbstractSet[str]) -> dict[Place, list[str]]:
    """The registries of whose machines the API knows none, by list or page, with their hosts.

    Their machines may be another account's. ``known``: the ids of the machines that the API knows, ended or not.
    """
    named = [item for item in entries if item[2].resource_ids and not item[2].storage_of]
    right = {place for place, _host, entry in named if not known.isdisjoint(entry.resource_ids)}
    return grouped((place, host) for place, host, _entry in named if place not in right)


def why_of_another_account(
    places: t.Mapping[Place, t.Iterable[str]],
    elsewhere: t.Container[tuple[Place, str]],
    is_swept: t.Callable[[Place], bool] = lambda _place: False,
) -> list[str]:
    """A sentence for each registry that may be another account's: see `unknown_places`.

    ``elsewhere``: the hosts by `MissingLook.is_elsewhere`. ``is_swept``: whether the leases of a registry were enforced
    lately: by a sweep that found a machine there, since no other counts. If all hosts are elsewhere, that is another
    account's sweep, so the registry needs no sentence.
    """
    sentences = []
    for place, hosts in places.items():
        names = f"the machines that {place.entry_place('<host>')} names for {', '.join(ranges(hosts))}"
        if any((place, host) not in elsewhere for host in hosts):
            sentences.append(_NONE_KNOWN.format(names=names))
        elif not is_swept(place):
            sentences.append(_ALL_ELSEWHERE.format(names=names))
    return sentences


_NONE_KNOWN = (
    "The API knows none of {names}. Is the token of the right account? Until it knows one, no sweep counts for their"
    " leases. Hosts of another account need an inventory of their own."
)
_ALL_ELSEWHERE = (
    "Another token bought {names}. This one finds none of them, so they were not checked. Audit with that token, and"
    " sweep with it once an hour, which also lets sweeps with this one succeed. Or give these hosts an inventory of"
    " their own. If that token was replaced, run compute_index.supply.decommission for them."
)


def to_read(entries: t.Iterable[Entry], machines: t.Iterable[Machine]) -> set[str]:
    """The ids to read: those that the list lacks or calls gone.

    If it lacks any, also ids of other machines, which show that the account is the right one.
    """
    ours, listed = {resource_id for entry in entries for resource_id in entry.all_ids}, _by_id(machines)
    lacking = ours - listed.keys()
    live = sorted(item for item in ours - lacking if not _states.is_gone(listed[item]["status"]))
    others = live[:_OTHERS] if lacking else []
    return ours.difference(live).union(others)


def entry_if_same(entry: Entry, now: Entry) -> Entry:
    """The current entry (``now``) if it is still about the same purchase; else an empty one."""
    return now if now.is_same(entry) else Entry()


def changes_for_storage(host: str, entry: Entry, status: Status, account: Account) -> Row:
    """The changes that note an ended purchase's storage in its entry; empty if there is none.

    The API may not have listed the storage before the entry was written.
    """
    items = storage_bought(entry, look_at(host, entry, status, account))
    changes = storage_changes(items, entry.storage)
    return {"provision_procured_offer_id": entry.offer_id, **changes} if changes else {}


def _is_over(host: str, entry: Entry, status: Status, account: Account) -> bool:
    """Whether a purchase is over, if all its known machines are gone: by the same rule as any other end.

    It is not if the status of its offer cannot be read, since that may name more machines. ``account``: with the
    machines as they were read by id.
    """
    asked = EndRequest(host, entry.name or host, entry)
    found = ending.what_ends(asked, ApiView(account, {entry.offer_id: status}))
    is_certain = found.action is Action.FORGET and not (found.forgotten or found.pending)
    return is_certain and not status.get("transient_error") and set(found.gone) == set(entry.resource_ids)


class Looked(t.NamedTuple):
    """The result of a look: a sentence about each host with a change, and why some could not be noted."""

    noted: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()

    def sentences(self, hosts: t.Container[str] | None = None) -> list[str]:
        """The sentences about these hosts; None means all."""
        return [text for host, text in self.noted if hosts is None or host in hosts]


_SENTENCES = {
    MissingStep.FIRST: "{host}: MISSING: the API finds {ids} ({usd}) neither by id nor in its list. The machine may be"
    " billed, so the host keeps it, and it counts in ceilings per hour, until a second look, half an hour from now or"
    " later, does not find it either. If another account bought it, that host needs an inventory of its own.",
    MissingStep.SECOND: "{host}: MISSING for half an hour or more: {ids} ({usd}). The machine no longer counts in"
    " ceilings per hour. It may be billed, so the host keeps it and buys nothing else. {advice}",
    MissingStep.CLEAR: "{host}: {ids} is no longer MISSING: the API finds it again. Its {usd} count again.",
    MissingStep.END: "{host}: the API says that {ids} has ended. The registry notes that: its {usd} no longer count.",
}


def noted(host: str, step: MissingStep, entry: Entry) -> str:
    """A sentence about the step that was noted for a host."""
    ids, advice = ids_in_words(entry.resource_ids), f"Ask the vendor. {forget_advice(host, entry.resource_ids)}"
    return _SENTENCES[step].format(host=host, ids=ids, usd=usd(entry.price_per_hour), advice=advice)


def missing_rows(entries: t.Iterable[tuple[str, Entry]], look: MissingLook, now: float) -> list[Row]:
    """The audit's rows for machines that the look neither finds nor shows as gone, without another account's.

    ``now``: seconds since the epoch.
    """
    return [
        missing_row(
            host,
            entry.missing_since or lease.utc_rounded_up(now),
            entry.price_per_hour,
            entry.resource_ids,
            counts=not entry.is_missing,
        )
        for host, entry in entries
        if look.lacks(entry) and not look.is_elsewhere(entry)
    ]
