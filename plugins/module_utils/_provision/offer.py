# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far an offer is: its phase, why a ready one cannot be used yet, whether waiting helps, and all that in words."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .. import _states
from .._machine import connection
from .messages import NO_REASON
from .ownership import ids_in, is_one_alive, refreshed

Json = dict[str, t.Any]

_HOPELESS = (_states.FAILED, _states.EXPIRED, _states.ENDED)
_BEING_DELETED = "its machines are being deleted"


@dataclass(frozen=True)
class View:
    """What a look has shown: the machines, the phase, and why a ready offer cannot be used yet (empty if it can).

    ``left``: of an offer whose machines have failed, the ids that may be billed. ``others``: of listed machines
    that its instances name, and that say that they were bought with another offer.
    """

    machines: list[Json]
    phase: str
    hindrance: str = ""
    left: tuple[str, ...] | None = None
    others: tuple[str, ...] = ()


def seen_alone(status: Json) -> View:
    """What the status of an offer shows by itself."""
    return View(connection.machines(status["instances"], []), status["phase"])


def is_reachable(view: View) -> bool:
    """Whether the status itself has the addresses of all machines, so that their resources need not be read."""
    commands = [machine.get("ssh_command") for machine in view.machines]
    return bool(commands) and all(connection.parse_ssh_command(command).host for command in commands)


def ids_to_read_when_ready(status: Json, resources: t.Collection[Json]) -> set[str]:
    """The ids of listed resources of a ready offer that are read by themselves before anything follows.

    By the list none of them lives, which would end the purchase; or one lives though an instance says that it ends.
    """
    machines = list(filter(_states.is_machine, resources))
    live = {machine["resource_id"] for machine in machines if _states.is_live(machine["status"])}
    if not live:
        return {machine["resource_id"] for machine in machines} - {None}
    is_denied = any(map(_states.is_ending, _words(status)))
    return live - {None} if is_denied else set()


def as_read(status: Json, resources: t.Iterable[Json], read: t.Mapping[str, Json | None]) -> list[Json]:
    """The resources as their own pages show them; of one that has none all instances know best, else the list."""
    words = _words(status)
    is_over = bool(words) and all(map(_states.is_ending, words))
    word = next((word for word in words if not _states.is_gone(word)), "deleted")
    denied = {item for item, resource in read.items() if resource is None} if is_over else set()
    # No instance speaks for storage.
    known_best = [
        {**item, "status": word} if item["resource_id"] in denied and _states.is_machine(item) else item
        for item in resources
    ]
    return refreshed(known_best, read)


def _words(status: Json) -> list[str | None]:
    """What the instances say of themselves."""
    return [_states.word(item.get("status")) for item in status["instances"]]


def seen_with(status: Json, resources: list[Json]) -> View:
    """What the status of a ready offer shows, with the resources that are its own. Storage outlives its machine."""
    machines = list(filter(_states.is_machine, resources))
    if machines and not is_one_alive(machines):
        return _without_life(status, resources)
    # What only instances name beside the ids that the status lists is not the offer's, unless it says so itself. If it
    # says that it is another's, that contradicts the purchase.
    ids = status["resource_ids"]
    own = [item for item in machines if not ids or item["resource_id"] in ids or item["offer_id"] == status["offer_id"]]
    others = {item["resource_id"]: item["offer_id"] for item in machines if item not in own}
    shown = connection.machines(status["instances"], resources)
    reached = [machine for machine in shown if machine["resource_id"] not in others]
    named = tuple(item for item in others if others[item])
    return View(reached, _states.READY, _hindrance(reached, ids_in(status)), others=named)


def _hindrance(machines: list[Json], ids: list[str]) -> str:
    if not machines:
        return "the API lists none of its machines" if ids else "the API names no instance yet"
    without = sum(machine["ansible_host"] is None for machine in machines)
    return f"{without} of {len(machines)} instances have no address yet" if without else ""


def _without_life(status: Json, resources: list[Json]) -> View:
    """No machine of a ready offer lives: it ends, or it has failed."""
    states = [resource["status"] for resource in filter(_states.is_machine, resources)]
    if not all(map(_states.is_ending, states)):
        # Nothing says that a machine that has failed is billed no more.
        left = [resource["resource_id"] for resource in resources if not _states.is_gone(resource["status"])]
        return View(seen_alone(status).machines, _states.FAILED, left=tuple(filter(None, left)))
    # What is not listed, or is still being deleted, is not known to be gone.
    if not {resource["resource_id"] for resource in resources}.issuperset(ids_in(status)):
        return View([], _states.READY, f"{_BEING_DELETED}, or the API does not list them any more")
    if not all(map(_states.is_gone, states)):
        return View([], _states.READY, _BEING_DELETED)
    return View(seen_alone(status).machines, _states.ENDED)


def result_of(status: Json, view: View, *, check_mode: bool) -> Json:
    """The fields of the result of a look. In check mode nothing is bought, so an unbought offer need not be awaited."""
    machines, ready = view.machines, view.phase == _states.READY and not view.hindrance
    if view.left is not None:
        reason = status["failure_reason"] or "its machines have failed"
        status = {**status, "resource_ids": list(view.left), "failure_reason": reason}
    over = view.phase in _HOPELESS or (check_mode and view.phase == _states.UNBOUGHT)
    return {
        **status,
        "phase": view.phase,
        "instances": machines,
        "connections": [
            {key: m[key] for key in ("resource_id", *connection.ADDRESS)}
            for m in machines
            if m["ansible_host"] is not None
        ],
        "resource_ids": list(dict.fromkeys([*status["resource_ids"], *view.others]))
        or [m["resource_id"] for m in machines if m["resource_id"]],
        "ready": ready,
        "terminal": ready or over,
        "transient_error": view.phase == _states.READY and not ready,
        "msg": f"Offer {status['offer_id']}{_told(status, view)}.",
    }


def _told(status: Json, view: View) -> str:
    """One line for the terminal, behind the offer's id."""
    state = status["procurement_status"] or status["status"]
    progress = f", {status['progress']}" if status["progress"] else ""
    ids = ", ".join(status["resource_ids"])
    billed = f". These resources may still be billed: {ids}" if ids else ""
    ready = f" is ready: {len(view.machines)} instance(s)"
    told = {
        _states.READY: f": {view.hindrance}" if view.hindrance else ready,
        _states.FAILED: f" failed: {status['failure_reason'] or NO_REASON}{billed}",
        _states.EXPIRED: " has expired without being bought",
        _states.ENDED: " was bought, but all its machines have been deleted since",
        _states.UNBOUGHT: f" is not bought (yet): the API says '{state}'",
    }
    return told.get(view.phase, f" is under way: {state}{progress}")


# Many


def refused_token(results: t.Collection[Json]) -> Json | None:
    """The result of an offer that shows that the token is refused, which is no offer's own fault; None if none does."""
    refused = [result for result in results if result.get("error_class") == "auth"]
    every = len(refused) == len(results) or any(item["status_code"] == 401 for item in refused)
    return refused[0] if refused and every else None


def combined_look(results: t.Collection[Json]) -> Json:
    """Many looks in one result."""
    pauses = [result["retry_after"] for result in results if result["retry_after"] is not None]
    return {
        **{
            name: [m for result in results for m in result[name]]
            for name in ("instances", "connections", "resource_ids")
        },
        "ready": all(result["ready"] for result in results),
        "terminal": all(result["terminal"] for result in results),
        "transient_error": any(result["transient_error"] for result in results),
        "retry_after": max(pauses, default=None),
        "msg": summary_of_offers(results),
    }


def summary_of_offers(results: t.Collection[Json]) -> str:
    """Many offers in one line."""
    ready = sum(bool(result["ready"]) for result in results)
    return f"{ready} of {len(results)} offers are ready."
