# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out what became of purchases in a shared registry whose runs are gone. Nothing is bought here.

Their claims count until that is known, and so refuse what others would buy. What follows from a look is decided by
`_provision.purchase` and `_provision.claims`. Each claim is taken over before the look, so that of two that settle it
at the same moment one does, and its own run, should it wake up, can free nothing.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._ansible.operation import Params
from .._api.client import SupplyApi
from .._provision import claims, storage
from .._provision.entry import Entry, read_entry
from .._provision.place import Place
from .._provision.purchase import next_step
from .._provision.sending import Note, leaves_storage, note_of
from .._registry._postgresql import Ceilings, Contested
from .._registry._protocol import Claimed, RegistryError
from ._by_id import side_by_side
from ._purchase import Journal, OfferMachines
from ._registries import Registries, RegistrySnapshot

LOOK_TIMEOUT = 10.0  # seconds for the status of an offer
SOON = 30.0  # seconds after a purchase was sent in which it may not show yet, as `settle_timeout`


@dataclass(frozen=True)
class Settling:
    """What became of claims, in a sentence each: ``closed`` is known now, ``uncertain`` is not, and still counts."""

    closed: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """All of these, as warnings."""
        return self.closed + self.uncertain


def settle(
    api: SupplyApi, params: Params, places: t.Iterable[Place], check_mode: bool = False, *, everywhere: bool = False
) -> Settling:
    """Settle what runs that are gone have left open in these places; ``everywhere``: on all of the account.

    In check mode it leaves that, and what a file has open is left to its host's own next run.
    """
    if check_mode:
        return Settling()
    with Registries.of(params, read_only=False) as registries:
        try:
            stores = map(registries.at, dict.fromkeys(places))
            open_claims = dict.fromkeys(key for store in stores for key in store.unsettled(everywhere=everywhere))
        except RegistryError as error:
            return Settling(uncertain=(str(error),))
        answers = list(filter(None, side_by_side(lambda key: _settled(api, registries, *key), open_claims)))
    closed = tuple(msg for state, msg in answers if state != claims.BUYING)
    return Settling(closed, tuple(msg for state, msg in answers if state == claims.BUYING))


_Answer = tuple[str, str]  # the state of a claim now, a word of `claims`, and the sentence about it


def _settled(api: SupplyApi, registries: Registries, place: Place, host: str) -> _Answer | None:
    """What became of the host's claim; None if another run has it."""
    entry, registry = read_entry(None), None
    try:
        registry = registries.at(place).host(host, Ceilings())
        entry = read_entry(registry.read() if registry else None)
        if registry is None or not entry.is_open:
            return None
        registry.hold()  # nothing can be sent under it any more
        journal = Journal(registry, entry.offer_id, {})
        journal.read()
        entry = replace(journal.entry, bought_by=entry.bought_by)
        names = [entry.name] if entry.name else []
        machines = OfferMachines(api, entry.offer_id, names, lambda: RegistrySnapshot(registries, [place]).claims())
        return _decided(machines, journal, entry, host) if entry.is_open else None
    except Claimed:
        return None
    except Contested as error:  # the machines are on record, with another claim or beside another purchase
        return claims.STRAY, str(error)
    except RegistryError as error:
        return claims.BUYING, claims.still_counts(host, entry, str(error))
    finally:
        if registry:
            registry.close()


def _decided(machines: OfferMachines, journal: Journal, entry: Entry, host: str) -> _Answer:
    """Look at the offer, and note what follows. Raises RegistryError."""
    history = claims.history_of(bool(entry.name), entry.refused_status)
    offer_look = machines.look(history, entry, timeout=LOOK_TIMEOUT, retries=0)
    look = machines.held(entry)
    held, contradictions = look.concluded
    if contradictions:
        return claims.BUYING, claims.still_counts(host, entry, "; ".join(map(str, contradictions)))
    history = journal.aged(history, offer_look.phase)
    step = next_step(history, offer_look, journal.since_sent() < SOON)
    state = claims.state_after_look(step, offer_look)
    if state == claims.LIVE:
        ids = list(look.left_of(held.billable))
        journal.make(ids, entry.price_per_hour)
        return state, claims.settled_as_made(host, entry, ids)
    if state == claims.VOID:
        note = note_of(step, history, machines.billed, machines.whose)
        is_ours = leaves_storage(note, history, machines.whose)
        kept = machines.storage_left(host, entry, look) if is_ours else ()
        journal.free(made=note is Note.FREE_MADE, kept=kept)
        return state, claims.settled_as_not_made(host, entry, storage.storage_in_words(host, kept))
    return state, claims.still_counts(host, entry, str(machines.unreadable or machines.asked))
