# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges the acceptance test of a machine: whether the machine is kept, and what is stored as evidence.

The checks are in `_machine/verdicts.py`.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import dataclass, replace

from .._machine.wanted import LEVELS, TIMEOUTS, VERDICTS
from .._text import LONGEST_LINE, end_option, joined, mappings_in, nearest, printable, seconds_of, text_of, utc
from . import lease
from .entry import Entry, unique_ids
from .spending import Bill, dollars

Row = t.Mapping[str, t.Any]
_LONGEST_NAME = 20  # characters of a check's name, which comes from the machine
UNSOUND = "unsound"  # the error class of an attempt whose machine did not pass
EVIDENCE = "provision_evidence"  # a variable of the shared registry
MOST_NOTED = 16 * 1024  # bytes of evidence in a shared registry
# Seconds that a test may run in the background: longer than its own limit. The first level is short and does not.
SECONDS = {level: int(TIMEOUTS[level]) + 60 for level in LEVELS[1:]}
NO_MACHINE = "no machine"  # instead of a verdict
# If its message has one of these, a command has run on a machine that Ansible calls unreachable.
_REACHED = ("Failed to create temporary directory", "No space left on device")


def check_level(level: str) -> None:
    """Raise ValueError for an unknown ``verify_level``."""
    if level and level not in LEVELS:
        levels = f"{', '.join(LEVELS[:-1])} or {LEVELS[-1]}"
        meant = f" Did you mean {near}?" if (near := nearest(level, LEVELS)) else ""
        raise ValueError(f"verify_level must be {levels}, not '{printable(level, 60)}'.{meant}")


@dataclass(frozen=True)
class Tested:
    """The test of one machine, which is named by its host."""

    machine: str
    verdict: str
    reasons: tuple[str, ...]
    result: Row

    @classmethod
    def of(cls, result: Row) -> Tested:
        """Read a task's result. Without a verdict, only an unreachable or silent machine is bad."""
        # The item is the host, or, in a task that waits, the result of the task that started the test.
        item, verdict = result.get("item"), result.get("verdict")
        machine = str(item.get("item") if isinstance(item, t.Mapping) else item)
        if result.get("unreachable") and not any(words in str(result.get("msg")) for words in _REACHED):
            return cls(machine, "bad", ("it cannot be reached any more",), result)
        if verdict in VERDICTS:
            return cls(machine, str(verdict), (*map(str, result.get("reasons") or ()), *_unread(result)), result)
        if _is_out_of_time(result):
            return cls(machine, "bad", ("its test did not end in time",), result)
        return cls(machine, "unknown", (f"it could not be tested: {result.get('msg') or 'no result'}",), result)

    @property
    def is_done(self) -> bool:
        """Whether the test has a result, which may be that the machine does not answer."""
        return self.verdict == "bad" or bool(self.result.get("verdict"))

    @property
    def row(self) -> dict[str, t.Any]:
        """Its part of the evidence."""
        names = ("findings", "tools", "seconds", "evidence")
        kept = {name: self.result[name] for name in names if name in self.result}
        return {"machine": self.machine, "verdict": self.verdict, "reasons": list(self.reasons), **kept}


def _is_out_of_time(result: Row) -> bool:
    """Whether the test has not ended, or its task timed out, for which ansible-core 2.16 has only a message."""
    is_limit = "timedout" in result or "in the expected time frame" in str(result.get("msg"))
    return is_limit or not result.get("finished", True)


def _unread(result: Row) -> list[str]:
    """A sentence that names the checks without readings; empty if all have them."""
    names = [row.get("check") for row in mappings_in(result.get("findings")) if row.get("verdict") == "unknown"]
    words = ", ".join(dict.fromkeys(printable(text_of(name), _LONGEST_NAME) for name in names))
    return [f"could not be read: {words}"] if words else []


@dataclass(frozen=True)
class Report:
    """The tests of all machines of a host, with the machines' ids and offer in the registry, if known."""

    host: str
    tests: tuple[Tested, ...]  # none if the host has no machine
    resource_ids: tuple[str, ...] = ()
    offer_id: str = ""

    @classmethod
    def of(cls, host: str, results: t.Iterable[Row], resource_ids: object = None) -> Report:
        """Make the report from the results of the tasks that started the tests, or waited for them.

        The last result of each machine counts.
        """
        newest = {test.machine: test for test in map(Tested.of, results)}
        return cls(host, tuple(newest.values()), resource_ids=unique_ids(resource_ids))

    @classmethod
    def of_plan(cls, plan: Row, results: t.Iterable[Row]) -> Report:
        """Make the report for the machines of a purchase."""
        return replace(cls.of(plan["host"], results), offer_id=plan["offer_id"] if plan["registry"] else "")

    def has_ended(self, entry: Entry, now: float) -> bool:
        """Whether the host's current entry says that the tested machines have ended, or that their end has begun.

        ``now``: seconds since the epoch by the clock that noted the entry.
        """
        if self.offer_id:
            is_noted = entry.may_have_bought and entry.offer_id in ("", self.offer_id)
        else:
            is_noted = not (self.resource_ids and set(self.resource_ids).isdisjoint(entry.resource_ids))
        return not is_noted or lease.end_begun(entry.reaped_at, now) is not None

    def unless_ended(self, entry: Entry, now: float) -> Report:
        """Return this report, or one without tests if the host's machine has ended or is about to: it is not bad.

        A host without a machine in its entry may be the user's own, if it answers. ``now``: by the clock that noted the
        entry.
        """
        answered = any(test.result.get("verdict") for test in self.tests)
        runs = not self.has_ended(entry, now) and (entry.resource_ids or answered)
        return self if runs else Report(self.host, ())

    @property
    def verdict(self) -> str:
        """The worst verdict of its machines."""
        return max((test.verdict for test in self.tests), key=VERDICTS.index, default=NO_MACHINE)

    @property
    def is_tested(self) -> bool:
        """Whether a test of one of its machines has a result."""
        return any(test.is_done for test in self.tests)

    @property
    def passes(self) -> bool:
        """Whether no machine is bad, so that all are kept."""
        return self.verdict != "bad"

    def reasons(self, verdict: str) -> str:
        """The reasons of the machines with this verdict; with the machines' names if there are several."""
        return "; ".join(
            (f"{test.machine}: " if len(self.tests) > 1 else "") + "; ".join(test.reasons)
            for test in self.tests
            if test.verdict == verdict
        )

    def summary(self, now: float) -> dict[str, t.Any]:
        """The summary of a test for the registry, with reasons that are shortened to `LONGEST_LINE`."""
        reasons = joined(*(f"{word}: {self.reasons(word)}." for word in VERDICTS[2:] if self.reasons(word)))
        return {"at": utc(now), "verdict": self.verdict, "reasons": printable(reasons, LONGEST_LINE)}

    @property
    def cause(self) -> str:
        """The reason why a machine is not kept."""
        return f"it did not pass its test: {self.reasons('bad')}."

    @property
    def trouble(self) -> str:
        """Why the test of existing machines fails: one is bad, or could not be tested. Empty if all are sound."""
        if not self.passes:
            return f"{self.host}: {self.cause}"
        return "" if all(test.is_done for test in self.tests) else f"{self.host}: {self.reasons('unknown')}."

    @property
    def warnings(self) -> list[str]:
        """Warnings about machines that are kept."""
        reasons = [(word, self.reasons(word)) for word in ("degraded", "unknown")]
        return [f"{self.host} is kept, but {word}: {text}." for word, text in reasons if text]


def verdict_lines(reports: t.Iterable[Report]) -> list[str]:
    """The lines that show the verdicts of existing machines."""
    return [
        line
        for report in reports
        for line in (
            f"{report.host}: {report.verdict}",
            *(f"  {reason}" for test in report.tests for reason in test.reasons),
        )
    ]


def why_verify_fails(reports: t.Collection[Report]) -> str:
    """Say which existing machines are bad, and how to end them, or could not be tested; empty if all are sound."""
    if reports and not any(report.tests for report in reports):
        return "Nothing was tested: none of these hosts has a machine to test."
    bad = [report for report in reports if not report.passes]
    option = end_option(report.host for report in bad)
    end = f"Nothing was ended; to end them: compute_index.supply.decommission {option}" if bad else ""
    return joined(*(report.trouble for report in reports), end)


def why_no_evidence(report: Report) -> str:
    """Say why no evidence is kept: the machine ended during its test, which explains the failure."""
    return f"The registry says that the machine of {report.host} ended during its test."


def bundle(report: Report, plan: Row, entry: Entry, now: float) -> dict[str, t.Any]:
    """The evidence against a machine: its offer, its tests, its cost in USD, and a digest of all this.

    ``now``: seconds since the epoch by the clock that noted the purchase; all times are by this clock.
    """
    reasons = (reason for test in report.tests if test.verdict == "bad" for reason in test.reasons)
    price, offer = entry.price_per_hour, entry.offer or plan["offer"]
    bill = Bill("", report.host, "", price_per_hour=price, begin=seconds_of(entry.journaled_at), end=now)
    whole: dict[str, t.Any] = {
        "host": report.host,
        "offer_id": entry.offer_id or plan["offer_id"],
        "resource_ids": list(entry.resource_ids),
        "offer": dict(offer),
        # `candidates` reads these, since a shortened bundle may lack the offer.
        **{name: offer.get(name) for name in ("vendor", "region")},
        "reason": printable(next(reasons, "").removesuffix(" (bad)"), LONGEST_LINE),
        "clock": entry.clock,
        "bought_at": entry.journaled_at,
        "tested_at": utc(now),
        "price_per_hour": price,
        "cost_so_far": dollars(bill.cost(0.0, now)) if bill.is_known(now) else None,
        "verdict": report.verdict,
        "machines": [test.row for test in report.tests],
    }
    return with_digest(whole)


def with_digest(whole: Row) -> dict[str, t.Any]:
    """A bundle with ``sha256``, the SHA-256 of its JSON with sorted keys and without ``sha256``."""
    rest = {name: value for name, value in whole.items() if name != "sha256"}
    return {**rest, "sha256": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def shortened_bundle(whole: Row, most: int = MOST_NOTED) -> dict[str, t.Any]:
    """The bundle for a shared registry, without raw output and findings that are `ok`.

    If it still has more than ``most`` bytes of JSON, the offer and all findings are left out as well.
    """
    machines = [{name: row[name] for name in row if name != "evidence"} for row in whole["machines"]]
    for row in machines:
        row["findings"] = [finding for finding in mappings_in(row.get("findings")) if finding.get("verdict") != "ok"]
    smaller = with_digest({**whole, "machines": machines})
    if len(json.dumps(smaller)) <= most:
        return smaller
    few = [{"machine": row["machine"], "verdict": row["verdict"]} for row in machines[:100]]
    return with_digest({**whole, "offer": {}, "machines": few})


def refusal(report: Report, place: str, trouble: str) -> str:
    """Say why the machine is not kept, and where the evidence is. ``trouble``: why no evidence could be stored."""
    lost = f"The evidence could not be kept: {trouble}" if trouble else ""
    return joined(report.cause, f"The evidence is in {place}." if place else "", lost)
