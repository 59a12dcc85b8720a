# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probe shows: its findings in lines, and a recording in which nothing tells whose account it was made with.

What is known to be harmless stays: figures, times, the API's own words, and its sentences. An id becomes a number, the
same for the same; any other text is hidden. Pure.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, replace

from .._api.client import Json, without_user_data
from .._text import narrow_table, wrapped
from .assumptions import CONFIRMED, CONTRADICTED, NOT_SEEN, AssumptionFinding
from .exchanges import CATALOGS, Exchange

#: Fields that hold words of the API or of its vendors' catalogues.
_WORDS = frozenset(
    {
        *("gpu_type", "gpu_family", "vendor", "region", "vendor_region", "contract_type", "type", "status"),
        *("procurement_status", "resource_type", "link_type", "offer_type", "role", "deployment_type"),
        *("storage_class", "vendor_class", "class"),
    }
)
_SENTENCES = frozenset({"detail", "loc", "msg", "message", "progress", "error", "failure_reason"})
#: What is the API's own, whatever a machine is called.
_OWN_WORDS = frozenset(
    {
        *("available", "procured", "failed", "expired", "pending", "provisioning", "ready", "running", "deleting"),
        *("provisioning_started", "provisioning_in_progress", "deleted", "terminated", "vm", "container", "primary"),
        *("ondemand", "spot", "body", "path", "query", "compute", "gpu_type", "status", "name", "detail"),
    }
)
_FIELD = re.compile(r"[a-z]{1,24}(_[a-z]{1,24}){0,5}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}( [A-Za-z0-9_.-]{1,20}){0,2}")
_OF_CATALOG = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.|/-]{0,199}")
_SENTENCE = re.compile(r"[A-Za-z0-9_]{1,19}(?:[ ,.:;/()'-]{1,2}[A-Za-z0-9_]{1,19}){0,60}[.)!]{0,2}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+|[0-9a-fA-F]*:[0-9a-fA-F:]*:")
_ID = re.compile(r"(^|_)(id|ids|uuid)$")  # how names of fields end
_OF_ACCOUNT = re.compile(r"(^|_)(id|ids|uuid|name|user|owner|project|account)$")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")
_HIDDEN = "********"
_LEAST = 3  # letters of a text that is looked for within others
_MOST_ITEMS = 20  # of a list; a large account would fill a disk, and tells no more


def redacted(
    exchanges: t.Iterable[Exchange], findings: t.Iterable[AssumptionFinding], secrets: t.Iterable[str]
) -> tuple[list[Json], list[AssumptionFinding]]:
    """Both without what is somebody's own, the exchanges as plain values with the beginnings of long lists.

    ``secrets`` are texts that must not stand in them.
    """
    redactor = _Redactor(secrets)
    looks = [(exchange, without_user_data(exchange.data)) for exchange in exchanges]
    # Twice, since a text may stand before the field that shows whose it is.
    _first, plain = ([redactor.exchange(item, data) for item, data in looks] for _time in range(2))
    return plain, [replace(finding, evidence=redactor.evidence(finding.evidence)) for finding in findings]


class _Redactor:
    """Hides texts, and remembers each, so that it is hidden within others, too."""

    def __init__(self, secrets: t.Iterable[str]) -> None:
        self._hidden = set(filter(None, secrets))
        self._numbers: dict[object, int] = {}

    def exchange(self, exchange: Exchange, data: t.Any) -> Json:
        """An exchange as plain values; ``data`` is its answer without user data."""
        head, *rest = exchange.path.split("/")[1:]
        is_of_catalog = exchange.name in ("gpus", *CATALOGS)
        return {
            **asdict(exchange),
            "path": "/".join(["", head, *(part if part == "status" else self._id(part) for part in rest)]),
            "query": {
                key: value if value in ("true", "false") else self._id(value) for key, value in exchange.query.items()
            },
            "spec": self._rewritten(exchange.spec, "", is_of_catalog=True),
            "ahead": None if exchange.ahead is None else round(exchange.ahead),
            **{"seconds": round(exchange.seconds, 3), "at": round(exchange.at, 3)},
            "data": self._rewritten(data, "", is_of_catalog=is_of_catalog),
        }

    def _rewritten(self, value: t.Any, field: str, *, is_of_catalog: bool) -> t.Any:
        """A value without what is somebody's own. In a catalogue all words are the market's."""
        if isinstance(value, dict):
            form = _OF_CATALOG if is_of_catalog else _FIELD
            return {
                self._kept(key, form): self._rewritten(part, key, is_of_catalog=is_of_catalog)
                for key, part in value.items()
            }
        if isinstance(value, list):
            return [self._rewritten(part, field, is_of_catalog=is_of_catalog) for part in value[:_MOST_ITEMS]]
        if isinstance(value, int) and not isinstance(value, bool) and _OF_ACCOUNT.search(field):
            return self._number(value)
        return self._text(value, field, is_of_catalog) if isinstance(value, str) else value

    def _text(self, text: str, field: str, is_of_catalog: bool) -> str:
        if not text or _TIME.fullmatch(text):
            return text
        if _ID.search(field) or _UUID.fullmatch(text):
            return self._id(text)
        if field == "ssh_command":
            return self._command(text)
        form = (
            _OF_CATALOG if is_of_catalog else _WORD if field in _WORDS else _SENTENCE if field in _SENTENCES else None
        )
        return self._kept(text, form)

    def evidence(self, text: str) -> str:
        """The evidence of a finding, hidden if it names anything that is hidden elsewhere."""
        return text if self._is_free(text) else _HIDDEN

    def _kept(self, text: str, form: re.Pattern[str] | None) -> str:
        """The text, if it has this form and nothing in it is somebody's own; else it is hidden from now on."""
        if text in _OWN_WORDS or (form and form.fullmatch(text) and self._is_free(text)):
            return text
        self._hidden.add(text)
        return _HIDDEN

    def _is_free(self, text: str) -> bool:
        if _UUID.search(text) or _ADDRESS.search(text):
            return False
        own = (item for item in self._hidden if len(item) >= _LEAST and item not in _OWN_WORDS)
        return text not in self._hidden and not any(item in text for item in own)

    def _id(self, text: str) -> str:
        """An id's stand-in, in its form."""
        self._hidden.add(text)
        number = self._number(text)
        return f"00000000-0000-4000-8000-{number:012x}" if _UUID.fullmatch(text) else f"id-{number}"

    def _number(self, value: object) -> int:
        return self._numbers.setdefault(value, len(self._numbers) + 1)

    def _command(self, text: str) -> str:
        """A command of ssh keeps the form that it has: how options stand, and no more."""
        words = text.split()
        self._hidden.update(part for word in words if not _OPTION.fullmatch(word) for part in re.split(r"[@'\"]", word))
        self._hidden -= {"", "root"}
        return " ".join(word if _OPTION.fullmatch(word) else _HOST.sub("host", word) for word in words)


_OPTION = re.compile(r"ssh|root|-[pl]|(-p)?\d{1,5}")
_HOST = re.compile(r"(?<=^root@).+|^(?!root@).+")


# Lines for the terminal

_COLUMNS = {name: name for name in ("assumption", "verdict", "evidence")}
_WHAT_FOLLOWS = "What a contradiction changes: docs/api.md of the collection."
_SHARE = (
    "No live API has confirmed these assumptions yet, so your recording helps, whatever it shows: look into it, then "
    'attach it to the form "What your API does" at '
    "https://github.com/compute-index/ansible-collection-supply/issues"
)


def lines_of(findings: t.Sequence[AssumptionFinding], exchanges: t.Sequence[Exchange], recording: str) -> list[str]:
    """The findings for a person. ``recording``: its file, empty if none is written."""
    rows = [
        {
            "assumption": item.id,
            "verdict": item.verdict.upper() if item.verdict == CONTRADICTED else item.verdict,
            "evidence": item.evidence,
        }
        for item in findings
    ]
    verdicts = [finding.verdict for finding in findings]
    slowest = max(exchange.seconds for exchange in exchanges)
    return [
        *narrow_table(rows, _COLUMNS, ("evidence",)),
        "",
        f"{len(exchanges)} requests, none of which changes anything; the slowest took {slowest:.1f} s.",
        *([f"Recording, without what tells whose it is: {recording}", *wrapped(_SHARE)] if recording else []),
        _WHAT_FOLLOWS,
        ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in (CONFIRMED, CONTRADICTED, NOT_SEEN)),
    ]
