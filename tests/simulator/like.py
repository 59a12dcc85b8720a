# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switches out of what the playbook ``probe`` has recorded of an API: its verdicts, and the evidence of each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .settings import Settings

FORMAT = 1

Switches = dict[str, Any]


class Unreadable(Exception):
    """A file that is no recording, or one of another version."""


def switches(file: str) -> Switches:
    """The switches that the findings of a recording decide; all others are left as they are. Raises Unreadable."""
    try:
        recording = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unreadable(f"{file}: {error}") from error
    if not isinstance(recording, dict) or recording.get("format") != FORMAT:
        raise Unreadable(f"{file}: this is no recording of the playbook probe in the format {FORMAT}")
    try:
        read = [
            switches_of(finding["id"], finding["verdict"], finding["evidence"]) for finding in recording["findings"]
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise Unreadable(f"{file}: its findings cannot be read") from error
    return {name: value for switch in read for name, value in switch.items()}


def switches_of(assumption: str, verdict: str, evidence: str) -> Switches:
    """The switches that one finding decides."""
    if verdict == "not seen" or assumption not in READERS:
        return {}
    names, reader = READERS[assumption]
    return dict(zip(names, reader(verdict == "confirmed", evidence), strict=False))


UNDECIDED: tuple[Any, ...] = ()
Reader = Callable[[bool, str], "tuple[Any, ...]"]  # from whether the assumption is confirmed, and the evidence
_VOCABULARIES = {
    "available": "A",
    "provisioning_started": "A",
    "provisioning_in_progress": "A",
    "pending": "B",
    "provisioning": "B",
}
_WORD = re.compile(r"[a-z]+([ _-][a-z]+)*")


def _by(values: dict[str, Any], otherwise: tuple[Any, ...] = UNDECIDED) -> Reader:
    """By how the evidence begins; the first beginning counts."""
    return lambda _confirmed, evidence: next(
        ((value,) for beginning, value in values.items() if evidence.startswith(beginning)), otherwise
    )


def _by_verdict(confirmed: Any, contradicted: Any) -> Reader:
    return lambda is_confirmed, _evidence: (confirmed if is_confirmed else contradicted,)


def _number(_confirmed: bool, evidence: str) -> tuple[Any, ...]:
    """The number that the evidence begins with."""
    found = re.match(r"\d+", evidence)
    return (int(found[0]),) if found else UNDECIDED


def _all_or_none(_confirmed: bool, evidence: str) -> tuple[Any, ...]:
    """Whether all of several have something; undecided if only some have it."""
    found = re.match(r"(\d+) of (\d+) ", evidence)
    return (found[1] != "0",) if found and found[1] in ("0", found[2]) else UNDECIDED


def _seconds(before: str) -> Reader:
    """The seconds behind these words; 0 for less than one, and for what was over at the first look."""

    def read(_confirmed: bool, evidence: str) -> tuple[Any, ...]:
        found = re.match(rf"{before} (within|less than a second|(\d+) s)", evidence)
        return (int(found[2] or 0),) if found else UNDECIDED

    return read


def _clock(confirmed: bool, evidence: str) -> tuple[Any, ...]:
    found = re.fullmatch(r"its clock is (\d+) s (ahead|behind)", evidence)
    if found:
        return (int(found[1]) * (1 if found[2] == "ahead" else -1),)
    return (0,) if confirmed else UNDECIDED


def _timestamps(_confirmed: bool, evidence: str) -> tuple[Any, ...]:
    forms = {"a Z": "Z", "an offset": "offset", "no zone": "naive"}
    form = forms.get(evidence.removeprefix("they end with "))
    return (form,) if form else UNDECIDED


def _vocabulary(_confirmed: bool, evidence: str) -> tuple[Any, ...]:
    kinds = {_VOCABULARIES.get(word) for word in evidence.split(", ")}
    return tuple(kinds) if len(kinds) == 1 else UNDECIDED


def _odd_word(confirmed: bool, evidence: str) -> tuple[Any, ...]:
    """The first odd word; None if a machine that is on its way has none."""
    words = evidence.split(", ")
    if confirmed:
        return (None,) if _VOCABULARIES.keys() & {*words} - {"available"} else UNDECIDED
    word = words[0].partition(" and ")[0]
    return (word,) if _WORD.fullmatch(word) else UNDECIDED


def _status_resources(_confirmed: bool, evidence: str) -> tuple[Any, ...]:
    found = re.match(r"(resource_ids|resources)(?: has (ids|objects)|, empty)", evidence)
    if found is None:
        return (None,) if evidence.endswith("names none") else UNDECIDED
    if found[2] != "objects":
        return (found[1],)
    return ("resource_objects",) if found[1] == "resources" else UNDECIDED


def _progress_field(_confirmed: bool, evidence: str) -> tuple[Any, ...]:
    field = evidence.removeprefix("in ")
    return (field,) if _WORD.fullmatch(field) else UNDECIDED


def _list_envelope(confirmed: bool, evidence: str) -> tuple[Any, ...]:
    if confirmed:
        return (None,)
    fields = re.split(r", | and ", evidence.removeprefix("an object with "))
    return next(((name,) for name in ("resources", "items", "data", "results") if name in fields), UNDECIDED)


def _pages(confirmed: bool, evidence: str) -> tuple[Any, ...]:
    """Size and links of a page; without links if all machines come at once."""
    if confirmed:
        return (None,)
    found = re.match(r"(\d+) of \w+, (a|no) link", evidence)
    return (int(found[1]), found[2] == "a") if found and found[1] != "0" else UNDECIDED


def _ssh_command(_confirmed: bool, evidence: str) -> tuple[Any, ...]:
    return (evidence,) if evidence.startswith("ssh ") else UNDECIDED


def _offer_history(_confirmed: bool, evidence: str) -> tuple[Any, ...]:
    if not evidence.startswith("role: "):
        return ("missing",)
    return ("primary" if re.search(r"\bprimary\b", evidence) else "other_words",)


def _deleted_readable(confirmed: bool, evidence: str) -> tuple[Any, ...]:
    return (confirmed,) if confirmed or evidence.startswith("404") else UNDECIDED


def _procure_answer(_confirmed: bool, evidence: str) -> tuple[Any, ...]:
    return (evidence,) if evidence in ("procured", "provisioning_in_progress") else UNDECIDED


#: By the id of an assumption, the switches that model what else may be true, and how its finding decides them.
READERS: dict[str, tuple[tuple[str, ...], Reader]] = {
    "wrong-token": (("auth_failure_status",), _number),
    "clock": (("clock_ahead",), _clock),
    "timestamps": (("timestamps",), _timestamps),
    "catalogs": (("discovery_envelope",), _by_verdict(False, True)),
    "search-count": (("gpu_count_required",), _by({"accepted": False}, (True,))),
    "search-clusters": (("lists_clusters",), _by_verdict(True, False)),
    "offer-life": (("offer_seconds",), _number),
    "total-price": (("total_price",), _all_or_none),
    "vocabulary": (("vocabulary",), _vocabulary),
    "odd-words": (("odd_word",), _odd_word),
    "status-ids": (("status_resources",), _status_resources),
    "progress": (("progress_field",), _progress_field),
    "ssh-port": (("address_in",), _by({"in ssh_command and": "both", "only in ssh": "ssh_command", "only": "access"})),
    "ssh-command": (("ssh_command",), _ssh_command),
    "list-bare": (("list_envelope",), _list_envelope),
    "list-pages": (("page_size", "page_links"), _pages),
    "names": (("keeps_name",), _all_or_none),
    "history": (("offer_history",), _offer_history),
    "spec": (("spec_known",), _by_verdict(True, False)),
    "sync": (("sync_seconds",), _by({"a second look": Settings.sync_seconds, "each look": 0})),
    "deleted-listed": (("deleted_listed",), _by_verdict(False, True)),
    "deleted-read": (("deleted_readable",), _deleted_readable),
    "post-time": (("procure_seconds",), _seconds("answered after")),
    "post-moment": (("purchase_at",), _by_verdict("start", "end")),
    "post-answer": (("procure_answer",), _procure_answer),
    "post-ids": (("procure_returns_ids",), _by_verdict(True, False)),
    "boot-time": (("provision_seconds",), _seconds("ready")),
    "lets-in": (("ssh_delay_seconds",), _seconds("SSH answered")),
    "end-time": (("delete_seconds",), _seconds("gone")),
}
