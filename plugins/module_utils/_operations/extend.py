# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More time for machines whose lease would be over: the registry alone is asked and told.

This module util is private to the collection.
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from .. import _decide_spec, _spec
from .._moments import seconds_of
from .._operation import Failure, Operation, Params, Result
from .._provision import lease, messages, reaping
from .._provision.declaration import read_bill
from .._provision.entry import read_entry
from .._provision.sums import UNLIMITED
from .._registry._protocol import Claimed, Registry, RegistryError
from .._wording import amount, table
from ._leases import Sweeps
from ._registries import Registries

BLANK: Result = {"changed": False, "lines": [], "trouble": "", "extended": []}

_EXTENDED = {"host": "host", "until": "before", "now until": "until", "USD more": "more", "at most": "at_most"}
_TRIES = 5  # of a change to an entry that others change at the same moment


def extend(params: Params, check_mode: bool) -> Result:
    """Move the ends of these hosts' machines, each by itself; ``trouble`` says whose could not be moved, and why."""
    by, until = _asked(params)
    with contextlib.closing(Registries.of(params)) as registries:
        return _extend(registries, params, by, until, check_mode)


def _extend(registries: Registries, params: Params, by: float | None, until: float | None, check_mode: bool) -> Result:
    rows, trouble, changed = [], [], False
    now = time.time()
    places = registries.places(params)
    for raw in params["hosts"]:
        host = raw["host"]
        try:
            wish = reaping.Wish(by, until, lease.read_lease(raw["lease_max"]), _bill(raw["max_bill"]))
            registry = registries.at(places[host]).host(host)
            if registry is None:
                raise ValueError(messages.NO_REGISTRY_TO_EXTEND)
            found, before = _extended(registry, host, wish, now, check_mode)
        except (ValueError, RegistryError) as error:
            trouble.append(f"{host}: {error}")
            continue
        if found.refusal:
            trouble.append(found.refusal)
            continue
        changed |= found.end != before
        rows.append(_moved(host, found, before))
    return {
        "changed": changed,
        "lines": _shown(rows),
        "trouble": messages.joined(*trouble),
        "extended": rows,
        "warnings": Sweeps(registries).warnings(places.values()),
    }


def _asked(params: Params) -> tuple[float | None, float | None]:
    """How much more, or until when. Raises Failure (invalid)."""
    by, until = str(params["extend_by"] or "").strip(), str(params["extend_until"] or "").strip()
    try:
        if bool(by) == bool(until):
            raise ValueError(
                "extend_by (such as 4h) or extend_until (a time with its zone) must say how much more, one of them"
            )
        found = lease.read_lease(by or until)
        if by and found.seconds is None:
            raise ValueError(f"extend_by must be a duration such as 4h, not '{by}'")
        if until and found.moment is None:
            raise ValueError(f"extend_until must be a time with its zone such as 2026-12-01T06:00Z, not '{until}'")
    except ValueError as error:
        text = str(error)
        said = text if text.startswith("extend") else f"extend_{'by' if by else 'until'} {text}"
        raise Failure(f"{said}. Nothing was extended.", "invalid", **BLANK) from None
    return found.seconds, found.moment


def _bill(value: t.Any) -> float | None:
    """The largest bill that a host declares, in USD; None for no limit. Raises ValueError."""
    found: list[str] = []
    bill = read_bill(value, found)
    if found:
        raise ValueError(" ".join(found))
    return None if bill == UNLIMITED else bill


def _extended(
    registry: Registry, host: str, wish: reaping.Wish, now: float, check_mode: bool
) -> tuple[reaping.Extension, float | None]:
    """The extension, noted, and the end before; decided anew if another run changes the entry meanwhile."""
    for left in reversed(range(_TRIES)):
        entry = read_entry(registry.read())
        begin = seconds_of(entry.journaled_at) if entry.journaled_at else None
        found = reaping.extend(host, entry, begin, wish, now)
        if found.refusal or check_mode:
            break
        try:
            registry.alter(reaping.noted(found))
            break
        except Claimed:
            if not left:
                raise
    return found, lease.moment_of(entry.ends_at)


def _moved(host: str, found: reaping.Extension, before: float | None) -> Result:
    return {
        "host": host,
        "before": None if before is None else lease.said(before),
        "until": None if found.end is None else lease.said(found.end),
        "more": None if found.more is None else round(found.more, 2),
        "at_most": None if found.at_most is None else round(found.at_most, 2),
    }


def _shown(rows: t.Sequence[Result]) -> list[str]:
    more = [row["more"] for row in rows if row["more"] is not None]
    return [*table(rows, _EXTENDED), "", f"USD more in total: {amount(sum(more))}"] if rows else ["No end was moved."]


EXTEND = Operation(extend, {**_spec.API, **_decide_spec.EXTEND}, BLANK)
