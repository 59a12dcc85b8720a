# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a claim in a registry that several controllers share.

A claim is written before a purchase is sent, and stays for ever; its state says what became of it:

- ``buying``: claimed. It is marked before its purchase is sent, and only while its run holds it (for a minute, which
  that run renews), so what is neither marked nor held has sent nothing and never will.
- ``live``: bought, and the host's. It keeps the host's name until its end is confirmed.
- ``stray``: bought, but the host has another purchase. It is billed, and a person ends it.
- ``void``: nothing was bought. Only this state frees the offer.
- ``ended``: bought once, and gone.

Pure: knows no Ansible, no HTTP, no SQL, no clock.
"""

from __future__ import annotations

import typing as t

from .. import _states
from .._text import ids_in_words, usd
from .entry import DEFAULT_PROJECT, Entry, project_of
from .messages import described
from .ownership import Machine, is_named, offer_of
from .purchase import PUT_OFF

BUYING, LIVE, STRAY, VOID, ENDED = STATES = ("buying", "live", "stray", "void", "ended")
OPEN = (BUYING, LIVE)  # a host has one of these at most
COUNTED = (*OPEN, STRAY)  # may be billed, so it counts in each sum; see `counts`
OVER = (VOID, ENDED)


def counts(state: str, *, is_sent: bool, is_held: bool) -> bool:
    """Whether something may be billed under a claim, now or soon: it is in each sum, and in the way of others.

    ``is_sent``: it was marked as sent. ``is_held``: its run holds it at this moment.
    """
    return state in COUNTED and (state != BUYING or is_sent or is_held)


def needs_settling(state: str, *, is_sent: bool, is_held: bool) -> bool:
    """Whether the run that has sent a purchase is gone, so that any other may find out what became of it."""
    return state == BUYING and is_sent and not is_held


def host_with_project(host: str, project: str) -> str:
    """A host, with its project where that is not the usual one."""
    return host if project_of(project) == DEFAULT_PROJECT else f"{host} of project {project}"


def is_bought(ids: t.Iterable[str]) -> str:
    """A purchase whose run has died was made."""
    return f"It is bought: {ids_in_words(ids)}."


def settled(host: str, entry: Entry, words: str) -> str:
    """What ``words`` say of a purchase whose run has died."""
    return (
        f"Offer {entry.offer_id} was sent for {host_with_project(host, entry.project)} at {entry.journaled_at}"
        f" ({usd(entry.price_per_hour)}), in a run of {entry.bought_by or 'an unknown user'} that has ended. {words}"
    )


def is_held(state: str | None, *, same_epoch: bool) -> bool:
    """Whether a claim is still that of the run that has made it; ``state``: None if the claim is lost.

    ``same_epoch``: no other run has taken it over. That its purchase was made any run may have noted; ended or freed it
    is in other hands.
    """
    return same_epoch and state in (BUYING, LIVE)


def not_held(where: str) -> str:
    """The registry has changed under a run that was suspended or cut off."""
    why = "another run has taken that over, or ended it, or a failover has lost it"
    return f"{where} does not say any more that this run is buying: {why}."


def came_late(machine: Machine | None, offer_id: str, name: str, refused: int | None) -> bool:
    """Whether a machine that no host has is what a freed claim of this offer has bought after all.

    It must live and have the ``name`` that was asked for. If the purchase was ``refused`` (the HTTP status, None if it
    was not), it is rather somebody else's; unless it was only put off. None is a machine that the API does not know.
    """
    if machine is None or not _states.is_live(machine["status"]) or refused not in (None, PUT_OFF):
        return False
    return is_named(machine, name, numbered=True) and offer_of(machine) in ("", offer_id)


def bought_after_all(host: str, offer_id: str, machines: t.Iterable[Machine], *, would: bool) -> str:
    """A purchase that counted as not made was made all the same; ``would``: that is not noted now."""
    noted = f"compute_index.supply.provision notes it as {host}'s" if would else f"It is {host}'s"
    return (
        f"The purchase of offer {offer_id} for {host} counted as not made, and its machine is there all the same:"
        f" {described(machines)}. {noted}."
    )


def state_once_made(
    state: str | None, *, adds: bool, name_is_free: bool, rival: str | None = None, adopted: bool = False
) -> str | None:
    """The state of a claim under which machines are noted; None if these belong to the rival instead.

    A proved purchase is never refused, for what is billed must be on record.

    ``state`` is that of the claim; None if there is no such claim (any more), as after a failover. ``adds``: machines
    are named that the claim did not have. ``name_is_free``: no other claim of the host is open. ``rival`` is the state
    of another claim of the same offer, if one is not void: what only says that it is buying has no proof, and yields.
    ``adopted``: a person takes the machines over, which then have not ended, whatever was told of them.
    """
    if rival not in (None, BUYING):
        return None
    if state in (LIVE, STRAY):
        return state
    if state == ENDED and not adopted:
        return STRAY if adds else ENDED
    # A claim that is buying holds the name itself.
    return LIVE if state == BUYING or name_is_free else STRAY
