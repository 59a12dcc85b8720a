# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording of the API that can be shown to others: nothing in it tells whose account it was made with.

What is kept is what is known to be harmless: figures, times, and the API's own words. Ids, addresses, names, keys and
texts become stand-ins, the same for the same everywhere, also within sentences. Pure.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import re
import typing as t
from collections import defaultdict
from dataclasses import replace

from .._api.client import Json, without_user_data
from .._machine.connection import parse_ssh_command
from .exchanges import AssumptionFinding, Exchange

#: Fields that hold words of the API or of its vendors' catalogues.
_WORDS = frozenset(
    {
        *("gpu_type", "gpu_family", "vendor", "region", "vendor_region", "contract_type", "type", "status"),
        *("procurement_status", "resource_type", "link_type", "offer_type", "role", "deployment_type"),
        *("storage_class", "vendor_class", "class"),
    }
)
#: What is the API's own whatever a machine is called.
_OWN_WORDS = frozenset(
    {
        *("available", "procured", "failed", "expired", "pending", "provisioning", "ready", "running", "deleting"),
        *("provisioning_started", "provisioning_in_progress", "deleted", "terminated", "vm", "container", "missing"),
        *("ondemand", "spot", "US", "EU", "APAC", "Other", "primary", "single", "cluster", "block_disk", "filesystem"),
        *("standard", "performance", "economy", "premium", "body", "path", "query", "compute", "gpu_type"),
    }
)
_SENTENCES = frozenset({"detail", "loc", "msg", "message", "progress", "error", "failure_reason"})
_ADDRESSES = frozenset({"external_ip", "internal_ip", "ip", "ip_address", "address", "host", "hostname", "fqdn"})
_NAMES = frozenset({"name", "resource_name", "cluster_name", "user", "username", "owner", "project", "account"})
_CATALOGS = frozenset({"gpus", "vendors", "regions", "contracts", "storage"})
_COMMANDS = frozenset({"ssh", "root", "-p", "-l"})

_FIELD = re.compile(r"[a-z]{1,24}(_[a-z]{1,24}){0,5}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}( [A-Za-z0-9_.-]{1,20}){0,2}")
_OF_CATALOG = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.|/-]{0,199}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)")
_IPV6 = re.compile(r"(?i)(?<![0-9a-z:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![0-9a-z:])")
_EMAIL = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
_URL = r"[a-z]{2,12}://\S+"
_MAC = r"(?i:(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2})"
_LONG = r"[A-Za-z0-9+/=_~-]{20,}"  # keys, tokens, digests
_WHOLE = 6  # characters from which a text is replaced within words, too
_HIDDEN = "********"
_MOST_ITEMS = 20  # of a list; a large account would fill a disk, and tells no more


def redacted(
    exchanges: t.Iterable[Exchange], findings: t.Iterable[AssumptionFinding], secrets: t.Iterable[str]
) -> tuple[list[Json], list[AssumptionFinding]]:
    """Both without what is somebody's own, the exchanges as plain values with the beginnings of long lists.

    ``secrets`` are texts that must not stand in them.
    """
    looks = [(exchange, _cut(without_user_data(exchange.data))) for exchange in exchanges]
    stand_ins = _StandIns(secrets)
    # Twice, since a text may stand before the field that shows whose it is.
    _first, plain = ([stand_ins.exchange(item, data) for item, data in looks] for _time in range(2))
    return plain, [replace(finding, evidence=stand_ins.sentence(finding.evidence)) for finding in findings]


class _StandIns:
    """What was found to be somebody's own, each with what stands for it."""

    def __init__(self, secrets: t.Iterable[str]) -> None:
        self._known: dict[str, str] = {secret: _HIDDEN for secret in secrets if secret}
        self._names: dict[str, str] = {}
        self._numbers: dict[int, int] = {}
        self._counters: dict[str, t.Iterator[int]] = defaultdict(lambda: itertools.count(1))

    def exchange(self, exchange: Exchange, data: t.Any) -> Json:
        """An exchange without what is somebody's own so far; ``data`` is its answer without user data."""
        kind, *ids = exchange.path.split("/")[1:]
        for value in [*(ids[:1] if kind in ("offers", "resources") else []), *exchange.query.values()]:
            if value not in ("true", "false"):
                self._add_id(value)
        is_catalog = exchange.name in _CATALOGS
        return {
            **{"name": exchange.name, "method": exchange.method},
            "path": "/".join(self._known.get(part, part) for part in exchange.path.split("/")),
            "query": {key: self._known.get(value, value) for key, value in exchange.query.items()},
            "spec": exchange.spec and self._rewritten(exchange.spec, "", True),
            **{"status": exchange.status, "seconds": round(exchange.seconds, 3), "at": round(exchange.at, 3)},
            "ahead": None if exchange.ahead is None else round(exchange.ahead),
            **{"retry_after": exchange.retry_after, "is_json": exchange.is_json},
            "data": self._rewritten(data, "", is_catalog),
        }

    def _rewritten(self, value: t.Any, field: str, is_catalog: bool) -> t.Any:
        """The value with stand-ins. In a catalogue all words are the market's."""
        if isinstance(value, dict):
            return {self._key(key, is_catalog): self._rewritten(part, key, is_catalog) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._rewritten(part, field, is_catalog) for part in value]
        if isinstance(value, str):
            return self._text(value, field, is_catalog)
        if isinstance(value, int) and not isinstance(value, bool) and (_is_id(field) or field in _NAMES):
            return self._numbers.setdefault(value, len(self._numbers) + 1)
        return value

    def _key(self, key: str, is_catalog: bool) -> str:
        self._add_parts(key)
        pattern = _OF_CATALOG if is_catalog else _FIELD
        return key if pattern.fullmatch(key) and self._is_free(key) else self._name(key)

    def _text(self, text: str, field: str, is_catalog: bool) -> str:
        if not text or _TIME.fullmatch(text):
            return text
        self._add_parts(text)
        if not is_catalog:
            self._add_by_field(text, field)
        if self._is_public(text, field, is_catalog):
            return text
        if field == "ssh_command":
            return " ".join(map(self._word_of_command, text.split()))
        if field in _SENTENCES and text not in self._known:
            return self.sentence(text)
        return self._name(text, "name" if field in _NAMES else "text")

    def _is_public(self, text: str, field: str, is_catalog: bool) -> bool:
        """Whether a text is a word of the API's own, or of its catalog."""
        pattern = _OF_CATALOG if is_catalog else _WORD if field in _WORDS else None
        return bool(pattern and pattern.fullmatch(text) and self._is_free(text))

    # What is somebody's own

    def _add_parts(self, text: str) -> None:
        """The ids and addresses that a text has in it."""
        for item in _UUID.findall(text):
            self._add_id(item)
        for address in [] if _TIME.fullmatch(text) else [*_IPV4.findall(text), *_IPV6.findall(text)]:
            if _is_address(address):
                self._add_address(address)

    def _add_by_field(self, text: str, field: str) -> None:
        """The text itself, or the host of a command, if that is an id or an address by the name of its field."""
        if _is_id(field):
            self._add_id(text)
        elif field in _ADDRESSES:
            self._add_address(text)
        elif field == "ssh_command":
            self._add_address(parse_ssh_command(text).host or "")

    def _add_id(self, text: str) -> None:
        if text and text not in self._known:
            number = next(self._counters["id"])
            self._known[text] = f"{_UUID_STAND_IN}{number:012x}" if _UUID.fullmatch(text) else f"id-{number}"

    def _add_address(self, text: str) -> None:
        if text and text not in self._known:
            number = next(self._counters["address"])
            name = f"host-{number}.example.com"
            if _is_address(text):
                name = f"2001:db8::{number:x}" if ":" in text else f"192.0.2.{number}" if number < 255 else name
            self._known[text] = name

    def _name(self, text: str, kind: str = "text") -> str:
        if text in self._known:
            return self._known[text]
        if text not in self._names:
            self._names[text] = f"{kind}-{next(self._counters[kind])}"
        return self._names[text]

    def _is_free(self, text: str) -> bool:
        """Whether nothing of somebody's own is in a word."""
        if text in _OWN_WORDS:
            return True
        # Vendors and types of GPUs are words that a name may be a part of.
        is_named = any(f" {name} " in f" {text} " for name in self._names)
        held = (item for item in self._known if item in text)
        return not is_named and not any(re.search(_place_of(item), text) for item in held)

    def sentence(self, text: str) -> str:
        """A sentence of the API in which stand-ins replace what is somebody's own."""
        return _pattern_of(frozenset({*self._known, *self._names})).sub(self._instead, text)

    def _instead(self, found: re.Match[str]) -> str:
        text = found[0]
        known = self._known.get(text) or self._names.get(text)
        if known is None and _FIELD.fullmatch(text) and self._is_free(text):
            return text
        is_person = "@" in text and "://" not in text
        return known or ("person@example.com" if is_person else _HIDDEN)

    def _word_of_command(self, word: str) -> str:
        """A command of ssh keeps the form that it has: how options stand, and no more."""
        if word in _COMMANDS or re.fullmatch(r"(-p)?\d{1,5}", word):
            return word
        user, at, host = word.rpartition("@")
        if host in self._known:
            return f"{user if user in ('', 'root') else self._name(user)}{at}{self._known[host]}"
        return self._name(word)


@functools.lru_cache(maxsize=1)
def _pattern_of(own: frozenset[str]) -> re.Pattern[str]:
    """What is replaced in sentences, if that is somebody's own."""
    # The longer first, since a name may be a part of an address; a short one only as a word of its own.
    longest_first = sorted(own - _OWN_WORDS, key=len, reverse=True)
    return re.compile("|".join([*map(_place_of, longest_first), _URL, _MAC, _EMAIL, _LONG]))


_UUID_STAND_IN = "00000000-0000-4000-8000-"


def _cut(value: t.Any) -> t.Any:
    """The value with the beginnings of its lists."""
    if isinstance(value, dict):
        return {key: _cut(part) for key, part in value.items()}
    return [_cut(part) for part in value[:_MOST_ITEMS]] if isinstance(value, list) else value


def _is_id(field: str) -> bool:
    return field in ("id", "ids", "uuid") or field.endswith(("_id", "_ids", "_uuid"))


def _is_address(text: str) -> bool:
    try:
        return len(text) > len("::") and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _place_of(text: str) -> str:
    """Where a text stands, as a regular expression: anywhere if it is long, else as a word."""
    found = re.escape(text)
    return found if len(text) >= _WHOLE else rf"(?<![A-Za-z0-9]){found}(?![A-Za-z0-9])"
