# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of the probe: lines with its findings, and a recording that does not identify the account. Pure.

The recording keeps the form of the API's answers: documented field names, numbers, times, and the API's own words. It
replaces all other texts.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, replace

from .._api.client import RESOURCE_ENVELOPES, Json
from .._text import narrow_table, wrapped
from .assumptions import CONTRADICTED, FORMS, FURTHER, VERDICTS, AssumptionFinding
from .exchanges import Exchange

_FIELDS = frozenset(
    {
        *(name for part in (FORMS, FURTHER) for names in part.values() for name in names),
        *RESOURCE_ENVELOPES,
        *("offers", "total_count", "filters_applied", "next", "detail", "loc", "msg", "error", "compute", "region"),
        *("external_ip", "internal_ip", "ssh_command", "ssh_port", "role", "offer_type", "link_type", "hourly_cost"),
        *("size_gb", "storage_class", "vendor_class", "persistent", "price_per_gb_month", "monthly_cost", "vendors"),
        *("regions", "contracts", "storage", "max_price_per_gpu_hour"),
    }
)
_WORDS = frozenset(
    {
        *("available", "procured", "failed", "expired", "pending", "provisioning", "ready", "running", "deleting"),
        *("provisioning_started", "provisioning_in_progress", "deleted", "terminated", "vm", "container", "primary"),
        *("ondemand", "spot", "US", "EU", "APAC", "Other", "single", "cluster", "block_disk", "filesystem"),
        *("standard", "performance", "economy", "premium", "body", "path", "query", "compute", "gpu_type", ""),
    }
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?")
_PRIVATE_NUMBER = re.compile(r"(^|_)(ids?|name)$")  # documented fields whose numbers may identify an account
_HIDDEN = "text"
_MOST_ITEMS = 20  # of a list; further ones of a large account would show nothing new


def redacted(
    exchanges: t.Iterable[Exchange], findings: t.Iterable[AssumptionFinding], own: t.Iterable[str]
) -> tuple[list[Json], list[AssumptionFinding]]:
    """Remove private texts and numbers from exchanges and findings. Exchanges become plain values with shortened lists.

    ``own``: names and secrets that must not appear in evidence.
    """
    names = [name for name in own if len(name) > 2]
    clean = [
        replace(finding, evidence=_HIDDEN) if any(name in finding.evidence for name in names) else finding
        for finding in findings
    ]
    return list(map(_without_texts, exchanges)), clean


def _without_texts(exchange: Exchange) -> Json:
    kind, *rest = exchange.path.split("/")[1:]
    return {
        **asdict(exchange),
        "path": "/".join(["", kind, *(part if part == "status" else "id" for part in rest)]),
        "query": {key: value if value == "true" else "id" for key, value in exchange.query.items()},
        "spec": _form_of(exchange.spec),
        "data": _form_of(exchange.data),
        **{"seconds": round(exchange.seconds, 3), "at": round(exchange.at, 3)},
        "ahead": None if exchange.ahead is None else round(exchange.ahead),
    }


def _form_of(value: t.Any, field: str = "") -> t.Any:
    """A value with its private texts and numbers replaced."""
    if isinstance(value, dict):
        return {key if key in _FIELDS else _HIDDEN: _form_of(part, key) for key, part in value.items()}
    if isinstance(value, list):
        return [_form_of(part, field) for part in value[:_MOST_ITEMS]]
    if isinstance(value, str):
        return value if value in _WORDS or _TIME.fullmatch(value) else _HIDDEN
    # A number may identify an account if it is an id, or if the field is unknown.
    is_private = field not in _FIELDS or _PRIVATE_NUMBER.search(field)
    return 0 if is_private and type(value) in (int, float) else value


# Lines for the terminal

_COLUMNS = {name: name for name in ("assumption", "verdict", "evidence")}
_SHARE = (
    "No live API has confirmed these assumptions yet, so your recording helps, whatever it shows. Read it, then "
    'attach it to the form "What your API does" at '
    "https://github.com/compute-index/ansible-collection-supply/issues"
)


def lines_of(
    findings: t.Sequence[AssumptionFinding], exchanges: t.Sequence[Exchange], recording: str, page: str
) -> list[str]:
    """The findings as a table, and the consequences of contradicted assumptions, from the text of ``docs/api.md``.

    ``recording``: its file; empty if none was written. ``page``: the text of ``docs/api.md``.
    """
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
        *_consequences([item.id for item in findings if item.verdict == CONTRADICTED], page),
        f"{len(exchanges)} requests, which changed nothing; the slowest took {slowest:.1f} s.",
        *([f"Recording, which does not identify your account: {recording}", *wrapped(_SHARE)] if recording else []),
        ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS),
    ]


def _consequences(wrong: t.Iterable[str], page: str) -> list[str]:
    """The last column of the page's table for each wrong assumption."""
    texts = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| (.*) \|$", page, re.MULTILINE))
    return [line for name in wrong if name in texts for line in wrapped(f"{name}: {texts[name]}", indent="  ")]
