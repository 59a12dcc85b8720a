# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose machine is protected? None of our code ends that of a host with ``provision_protect: true``.

The host's own variable decides, wherever it has one. A sweep or an end may meet a host that is in no inventory; so the
registry notes since when the host is protected, and that counts where the variable says nothing.
"""

from __future__ import annotations

import typing as t

from .._text import printable
from . import lease
from .entry import PROTECTED_SINCE, Entry
from .lease import moment_of
from .messages import joined

VARIABLE = "provision_protect"
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def read_protection(value: t.Any) -> bool | None:
    """What a host's variable says, None if it says nothing. Raises ValueError with a reason for a person.

    A text that is neither true nor false is no answer: a slip must not end a machine.
    """
    text = "" if value is None else str(value).strip().lower()
    if not text:
        return None
    if text not in _WORDS:
        raise ValueError(f"must be true or false, not '{printable(str(value), 60)}'")
    return _WORDS[text]


def refusal(host: str, value: t.Any, entry: Entry) -> str:
    """Why nothing of ours ends the machine of a host, by name and since when; empty if it is not protected.

    ``value``: the host's own ``provision_protect``, None or empty if it has none.
    """
    try:
        declared = read_protection(value)
    except ValueError as error:
        return f"{host} counts as protected: {VARIABLE} {error}."
    is_noted = bool(entry.protected_since)
    if not (is_noted if declared is None else declared):
        return ""
    return joined(f"{host} is protected {_since(entry) if is_noted else 'by its variables'}.", _ALLOWED)


_ALLOWED = f"Set {VARIABLE}: false for it (or -e {VARIABLE}=false) if its machine may end."


def _since(entry: Entry) -> str:
    """Since when a host is protected, in UTC; a moment that a person wrote may be unreadable."""
    moment = moment_of(entry.protected_since)
    return f"since {lease.said(moment)}" if moment is not None else "by its registry entry"


def noted(protects: bool, now: float) -> dict[str, t.Any]:
    """What the registry keeps of a purchase of a host that is protected from then on (seconds since the epoch)."""
    return {PROTECTED_SINCE: lease.utc(now)} if protects else {}


def changes(protects: bool, entry: Entry, now: float) -> dict[str, t.Any]:
    """What the registry must change about a machine that runs, now that the host declares this; empty for nothing."""
    if not entry.resource_ids or entry.held_by or protects is bool(entry.protected_since):
        return {}
    return noted(protects, now) or {PROTECTED_SINCE: None}
