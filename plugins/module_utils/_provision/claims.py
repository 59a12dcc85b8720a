# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for claims in a shared registry.

A claim is written before a purchase is sent, and stays for ever. It has one of these states:

- ``buying``: claimed. It is marked before its purchase is sent, and only while its run holds it (for a minute, which
  that run renews). So a claim that is neither marked nor held has sent nothing, and never will.
- ``live``: bought, and the host's own. It keeps the host's name until its end is confirmed.
- ``stray``: bought, but the host has another purchase. It is billed, and a person must end it.
- ``void``: nothing was bought. Only this state frees the offer.
- ``ended``: bought, and ended since.

Pure: knows no Ansible, no HTTP, no SQL, no clock.
"""

from __future__ import annotations

import typing as t

from .. import _states
from .._text import ids_in_words, usd
from .entry import DEFAULT_PROJECT, Entry, project_of
from .messages import described
from .ownership import Machine, is_named, offer_of
from .purchase import History

BUYING, LIVE, STRAY, VOID, ENDED = STATES = ("buying", "live", "stray", "void", "ended")
OPEN = (BUYING, LIVE)  # a host has at most one claim in these states
COUNTED = (*OPEN, STRAY)  # may be billed, so they count in each sum; see `counts`
OVER = (VOID, ENDED)


def counts(state: str, *, is_sent: bool, is_held: bool) -> bool:
    """Whether a claim's purchase may be billed, now or soon, so that it counts in each sum and blocks other claims.

    ``is_sent``: it was marked as sent. ``is_held``: its run holds it at this moment.
    """
    return state in COUNTED and (state != BUYING or is_sent or is_held)


def needs_settling(state: str, *, is_sent: bool, is_held: bool) -> bool:
    """Whether the run that sent a claim's purchase is gone, so that any other run may find out its result."""
    return state == BUYING and is_sent and not is_held


def host_with_project(host: str, project: str) -> str:
    """The host as text, with its project unless that is the default one."""
    return host if project_of(project) == DEFAULT_PROJECT else f"{host} of project {project}"


def was_bought(ids: t.Iterable[str]) -> str:
    """A sentence: a purchase whose run has died was made."""
    return f"It was bought: {ids_in_words(ids)}."


def settled(host: str, entry: Entry, words: str) -> str:
    """A message about a purchase whose run has died; ``words`` say its result."""
    return (
        f"The purchase of offer {entry.offer_id} was sent for {host_with_project(host, entry.project)} at"
        f" {entry.journaled_at} ({usd(entry.price_per_hour)}), in a run of {entry.bought_by or 'an unknown user'} that"
        f" has ended. {words}"
    )


def is_held(state: str | None, *, same_epoch: bool) -> bool:
    """Whether a claim still belongs to the run that made it; ``state``: None if the claim is lost.

    ``same_epoch``: no other run has taken it over. If it is ``live``, its machines were noted, perhaps by another run;
    in any other state, another run has ended or freed it.
    """
    return same_epoch and state in (BUYING, LIVE)


def not_held(where: str) -> str:
    """A refusal: the registry has changed while this run was suspended or cut off."""
    why = "another run has taken the purchase over or ended it, or a failover has lost it"
    return f"{where} no longer says that this run is buying: {why}."


def came_late(machine: Machine | None, offer_id: str, name: str, refused: int | None) -> bool:
    """Whether a freed claim of this offer has bought the ``machine`` after all; no host has it yet.

    The machine must be live and have the ``name`` of the purchase. If the purchase was ``refused`` (its HTTP status;
    None if it was not), it probably belongs to someone else, unless the API had only put the purchase off. None: the
    API does not know the machine.
    """
    may_have_bought = History(unanswered=refused is None, refused=refused).may_be_under_way
    if machine is None or not _states.is_live(machine["status"]) or not may_have_bought:
        return False
    return is_named(machine, name, numbered=True) and offer_of(machine) in ("", offer_id)


def bought_after_all(host: str, offer_id: str, machines: t.Iterable[Machine], *, would: bool) -> str:
    """A message about a purchase that had seemed refused but was made. ``would``: this run does not note it."""
    noted = f"compute_index.supply.provision notes it as {host}'s" if would else f"It now belongs to {host}"
    return (
        f"The purchase of offer {offer_id} for {host} counted as not made, but its machine exists:"
        f" {described(machines)}. {noted}."
    )


def state_once_made(
    state: str | None, *, adds: bool, name_is_free: bool, rival: str | None = None, adopted: bool = False
) -> str | None:
    """The new state of a claim when machines are noted for it; None if they belong to the rival instead.

    A proved purchase is never refused, since anything billed must be on record.

    ``state``: of the claim; None if it does not exist, as after a failover. ``adds``: the claim did not have all the
    machines before. ``name_is_free``: the host has no other open claim, which is certain if this one is open.
    ``rival``: the state of another claim of the same offer, unless it is void; a rival that is only ``buying`` has no
    proof, and yields. ``adopted``: a person takes the machines over, so they have not ended, whatever the claim says.
    """
    if rival not in (None, BUYING):
        return None
    if state in (LIVE, STRAY):
        return state
    if state == ENDED and not adopted:
        return STRAY if adds else ENDED
    return LIVE if name_is_free else STRAY
