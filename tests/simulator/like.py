# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive switches from a recording of the playbook ``probe``: from its verdicts and their evidence."""

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
    """The file is not a recording, or has another version."""


def switches(file: str) -> Switches:
    """The switches that a recording decides; the others keep their values. Raises Unreadable."""
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
        read.append(_pages_of(recording.get("exchanges", [])))
    except (AttributeError, KeyError, TypeError) as error:
        raise Unreadable(f"{file}: its findings cannot be read") from error
    return {name: value for switch in read for name, value in switch.items()}


def switches_of(assumption: str, verdict: str, evidence: str) -> Switches:
    """The switches that one finding decides."""
    if verdict == "not seen" or assumption not in READERS:
        return {}
    name, reader = READERS[assumption]
    value = reader(verdict == "confirmed", evidence)
    return {} if value is UNDECIDED else {name: value}


def _pages_of(exchanges: list[Any]) -> Switches:
    """Size and links of a page of the list of resources; no size if all come at once."""
    for exchange in exchanges:
        data = exchange["data"]
        if exchange["name"] == "resources" and isinstance(data, dict) and "total_count" in data:
            (items,) = [value for value in data.values() if isinstance(value, list)]
            if len(items) < data["total_count"]:
                return {"page_size": len(items), "page_links": "next" in data}
    return {"page_size": None}


UNDECIDED: Any = object()
Reader = Callable[[bool, str], Any]  # from whether the assumption is confirmed, and the evidence
_WORD = re.compile(r"[a-z]+([ _-][a-z]+)*")


def _by_verdict(confirmed: Any, contradicted: Any) -> Reader:
    return lambda is_confirmed, _evidence: confirmed if is_confirmed else contradicted


def _among(values: dict[str, Any], confirmed: Any = UNDECIDED) -> Reader:
    """By the whole evidence, if that is one of these; else by the verdict, if it is confirmed."""
    return lambda is_confirmed, evidence: values.get(evidence, confirmed if is_confirmed else UNDECIDED)


def _number(_confirmed: bool, evidence: str) -> Any:
    """The number at the beginning of the evidence; 0 if it was over at the first look."""
    found = re.match(r"-?\d+", evidence)
    return int(found[0]) if found else 0 if evidence == "at the first look" else UNDECIDED


def _first_word(_confirmed: bool, evidence: str) -> Any:
    word = evidence.split(", ")[0]
    return word if _WORD.fullmatch(word) else UNDECIDED


def _odd_word(confirmed: bool, evidence: str) -> Any:
    return None if confirmed else _first_word(confirmed, evidence)


def _gpu_count_required(confirmed: bool, evidence: str) -> Any:
    return not confirmed and evidence.startswith("answered with 4")


def _history(confirmed: bool, evidence: str) -> Any:
    return "primary" if confirmed else "missing" if evidence == "no offer" else "other_words"


def _clock(confirmed: bool, evidence: str) -> Any:
    return 0 if confirmed else _number(confirmed, evidence)


#: By the id of an assumption, the switch that models what else may be true, and how its finding decides it.
READERS: dict[str, tuple[str, Reader]] = {
    "wrong-token": ("auth_failure_status", _number),
    "clock": ("clock_ahead", _clock),
    "timestamps": ("timestamps", _among({"Z": "Z", "an offset": "offset", "no zone": "naive"})),
    "catalogs": ("discovery_envelope", _by_verdict(False, True)),
    "search-count": ("gpu_count_required", _gpu_count_required),
    "search-clusters": ("lists_clusters", _by_verdict(True, False)),
    "offer-life": ("offer_seconds", _number),
    "total-price": ("total_price", _by_verdict(True, False)),
    "vocabulary": ("vocabulary", _by_verdict("A", "B")),
    "odd-words": ("odd_word", _odd_word),
    "status-ids": (
        "status_resources",
        _among({"resources: text": "resources", "resources: object": "resource_objects", "none": None}, "resource_ids"),
    ),
    "progress": ("progress_field", _first_word),
    "ssh-port": (
        "address_in",
        _among({"not in access.ssh_port": "ssh_command", "not in ssh_command": "access"}, "both"),
    ),
    "ssh-command": (
        "ssh_command",
        lambda _confirmed, evidence: evidence if evidence.startswith("ssh ") else UNDECIDED,
    ),
    "list-bare": (
        "list_envelope",
        _among({name: name for name in ("resources", "items", "data", "results")}, None),
    ),
    "names": ("keeps_name", _by_verdict(True, False)),
    "history": ("offer_history", _history),
    "spec": ("spec_known", _by_verdict(True, False)),
    "sync": ("sync_seconds", _by_verdict(Settings.sync_seconds, 0)),
    "deleted-listed": ("deleted_listed", _by_verdict(False, True)),
    "deleted-read": ("deleted_readable", _by_verdict(True, False)),
    "post-time": ("procure_seconds", _number),
    "post-moment": ("purchase_at", _by_verdict("start", "end")),
    "post-answer": ("procure_answer", _first_word),
    "post-ids": ("procure_returns_ids", _by_verdict(True, False)),
    "boot-time": ("provision_seconds", _number),
    "lets-in": ("ssh_delay_seconds", _number),
    "end-time": ("delete_seconds", _number),
}
