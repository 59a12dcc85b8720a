# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read of the probe: lines for the terminal, and the page beside its recording.

Pure. The page says what was found, what that changes, and what to do; nothing in it says whose account it was, so that
it can be sent with the recording.
"""

from __future__ import annotations

import os
import typing as t

from .._text import narrow_table, wrapped
from .assumptions import ASSUMPTIONS
from .exchanges import CONFIRMED, CONTRADICTED, NOT_SEEN, Assumption, AssumptionFinding, Exchange

WIDTH = 80  # characters of a line
REPORT = "https://github.com/compute-index/ansible-collection-supply/issues/new/choose"
FORM = "What your API does"
_BY_ID = {assumption.id: assumption for assumption in ASSUMPTIONS}
_BUY = "To see what needs a purchase, add `-e probe_buy=true -e probe_max_usd=3`: it buys a machine and ends it."
_MANAGED = "Nothing: the collection manages each difference by itself."
# What a reader must know of the findings of each verdict.
_SECTIONS = {
    CONTRADICTED: "Each line ends with what the collection does instead.",
    NOT_SEEN: _BUY,
    CONFIRMED: "In brackets is what was seen.",
}


def file_beside(recording: str) -> str:
    """The page's file: that of the recording, with another ending, or one more; empty without a recording."""
    stem, ending = os.path.splitext(recording)
    return f"{recording if ending == '.md' else stem}.md" if recording else ""


def page_of(findings: t.Sequence[AssumptionFinding], recording: str, version: str) -> str:
    """The page, in Markdown, with lines of 80 characters.

    ``recording``: the file that it lies beside. ``version``: the collection's.
    """
    verdicts = [finding.verdict for finding in findings]
    counts = " ".join(f"{verdict.capitalize()}: {verdicts.count(verdict)}." for verdict in _SECTIONS)
    head = f"compute_index.supply {version} makes {len(findings)} assumptions about the API. {counts}"
    sections = [
        ("# What this API does", wrapped(head, WIDTH)),
        ("## What to do", _to_do(findings)),
        *((f"## {verdict.capitalize()}", _described(verdict, note, findings)) for verdict, note in _SECTIONS.items()),
        ("## Send the recording", _sending(recording)),
    ]
    return "\n".join("\n".join([title, "", *lines, ""]) for title, lines in sections if lines)


def _to_do(findings: t.Iterable[AssumptionFinding]) -> list[str]:
    """What a user should do, since an assumption is wrong."""
    wrong = [_BY_ID[finding.id] for finding in findings if finding.verdict == CONTRADICTED]
    items = [f"{assumption.to_do} (`{assumption.id}`)" for assumption in wrong if assumption.to_do]
    return _listed(items or [_MANAGED if wrong else "Nothing: no assumption is contradicted."])


def _described(verdict: str, note: str, findings: t.Iterable[AssumptionFinding]) -> list[str]:
    """The findings of one verdict; nothing if there are none."""
    items = [_item(_BY_ID[finding.id], finding) for finding in findings if finding.verdict == verdict]
    return [*wrapped(note, WIDTH), "", *_listed(items)] if items else []


def _item(assumption: Assumption, finding: AssumptionFinding) -> str:
    """A line about one finding: what it changes only if it is not as assumed."""
    assumed, _source, otherwise = assumption.statement
    if finding.verdict == CONFIRMED:
        return f"`{finding.id}`: {assumed} ({finding.evidence})."
    if finding.verdict == CONTRADICTED:
        return f"`{finding.id}`: {assumed}. Seen: {finding.evidence}. So: {otherwise}."
    return f"`{finding.id}`: {assumed}. Not seen: {finding.evidence}. If it is wrong: {otherwise}."


def _sending(recording: str) -> list[str]:
    """Where the recording is, and how it helps others."""
    name = os.path.basename(recording)
    kept = (
        f"`{name}`, beside this page, has the requests and answers. It has no token and no user data, and ids, "
        "addresses, names and other identifying texts are replaced. Prices, times, GPU types and vendors stay."
    )
    send = (
        "No live API has confirmed these assumptions yet, so your recording helps, whatever it shows. Look into "
        f'`{name}`, then attach it and this page to the form "{FORM}":'
    )
    return [*wrapped(kept, WIDTH), "", *wrapped(send, WIDTH), "", f"<{REPORT}>"]


def _listed(items: t.Iterable[str]) -> list[str]:
    return [line for item in items for line in wrapped(f"- {item}", WIDTH, "  ")]


# Lines for the terminal

_COLUMNS = {name: name for name in ("assumption", "verdict", "evidence")}
_WITHOUT_PAGE = "-e probe_recording=probe.json also writes a page: what that changes, and what to do."


def lines_of(
    findings: t.Sequence[AssumptionFinding],
    exchanges: t.Sequence[Exchange],
    hosts: int,
    lived: int,
    recording: str,
    page: str,
) -> list[str]:
    """The findings for a person.

    ``hosts``: how many other hosts were asked; ``lived``: how many requests a machine's life took; ``recording`` and
    ``page``: their files, empty if none is written.
    """
    verdicts = [finding.verdict for finding in findings]
    rows = [
        {
            "assumption": item.id,
            "verdict": item.verdict.upper() if item.verdict == CONTRADICTED else item.verdict,
            "evidence": item.evidence,
        }
        for item in findings
    ]
    slowest = max(exchange.seconds for exchange in exchanges)
    return [
        *narrow_table(rows, _COLUMNS, ("evidence",)),
        "",
        f"{len(exchanges) + hosts} requests, none of which changes anything; the slowest took {slowest:.1f} s.",
        *([f"Before these {lived} requests of a machine that was bought and ended."] if lived else []),
        *([f"Recording, without what tells whose it is: {recording}"] if recording else []),
        *wrapped(f"What that changes, and what to do: {page}" if page else _WITHOUT_PAGE),
        ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in (CONFIRMED, CONTRADICTED, NOT_SEEN)),
    ]
