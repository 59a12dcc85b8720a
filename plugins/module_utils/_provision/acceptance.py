# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test of a machine before it is kept: what is tested, what follows from it, and what is kept of it as evidence.

The tests themselves are in `_machine/verdicts.py`.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import dataclass, replace

from .._machine.wanted import LEVELS, TIMEOUTS, VERDICTS
from .._text import LONGEST_LINE, end_option, joined, mappings_in, printable, seconds_of, text_of, utc
from . import lease
from .entry import Entry, unique_ids
from .spending import Bill, dollars

Row = t.Mapping[str, t.Any]
_LONGEST_NAME = 20  # characters of a check that a machine names
UNSOUND = "unsound"  # the error class of an attempt whose machine did not pass
EVIDENCE = "provision_evidence"  # of a shared registry
MOST_NOTED = 16 * 1024  # bytes that a shared registry keeps of it
# How long a test may run by itself while people see that it goes on: longer than its own limit. The first is short.
SECONDS = {level: int(TIMEOUTS[level]) + 60 for level in LEVELS[1:]}
NO_MACHINE = "no machine"  # instead of a verdict
# What Ansible says of a machine that it calls unreachable though a command has run there
_REACHED = ("Failed to create temporary directory", "No space left on device")


def check_level(level: str) -> None:
    """Raise ValueError for a ``verify_level`` that is none: nothing was tested, and that is no success."""
    if level and level not in LEVELS:
        levels = f"{', '.join(LEVELS[:-1])} or {LEVELS[-1]}"
        raise ValueError(f"verify_level must be {levels}, not '{printable(level, 60)}'. Nothing was tested.")


@dataclass(frozen=True)
class Tested:
    """A machine, by its host, and how its test has gone."""

    machine: str
    verdict: str
    reasons: tuple[str, ...]
    result: Row

    @classmethod
    def of(cls, result: Row) -> Tested:
        """By the result of a task. A test that does not end is a machine that does not answer; no other is bad."""
        # A task that waits has the result of the one that started the test as its item, and that has the host.
        item, verdict = result.get("item"), result.get("verdict")
        machine = str(item.get("item") if isinstance(item, t.Mapping) else item)
        if result.get("unreachable") and not any(words in str(result.get("msg")) for words in _REACHED):
            return cls(machine, "bad", ("it cannot be reached any more",), result)
        if verdict in VERDICTS:
            return cls(machine, str(verdict), (*map(str, result.get("reasons") or ()), *_unread(result)), result)
        if _is_out_of_time(result):
            return cls(machine, "bad", ("its test does not answer",), result)
        return cls(machine, "unknown", (f"it could not be tested: {result.get('msg') or 'no result'}",), result)

    @property
    def is_done(self) -> bool:
        """Whether the test has said anything, be it that the machine does not answer."""
        return self.verdict == "bad" or bool(self.result.get("verdict"))

    @property
    def row(self) -> dict[str, t.Any]:
        """What is kept of it."""
        names = ("findings", "tools", "seconds", "evidence")
        kept = {name: self.result[name] for name in names if name in self.result}
        return {"machine": self.machine, "verdict": self.verdict, "reasons": list(self.reasons), **kept}


def _is_out_of_time(result: Row) -> bool:
    """Whether the test has not ended, or the limit of the task has ended it: ansible-core 2.16 only says so."""
    is_limit = "timedout" in result or "in the expected time frame" in str(result.get("msg"))
    return is_limit or not result.get("finished", True)


def _unread(result: Row) -> list[str]:
    """Which checks could not read what they need, in a sentence; none if all could."""
    names = [row.get("check") for row in mappings_in(result.get("findings")) if row.get("verdict") == "unknown"]
    words = ", ".join(dict.fromkeys(printable(text_of(name), _LONGEST_NAME) for name in names))
    return [f"could not be read: {words}"] if words else []


@dataclass(frozen=True)
class Report:
    """The tests of all machines of a host.

    ``resource_ids``, ``offer_id``: theirs, as far as they are known, of what a registry has noted.
    """

    host: str
    tests: tuple[Tested, ...]  # none if the host has no machine
    resource_ids: tuple[str, ...] = ()
    offer_id: str = ""

    @classmethod
    def of(cls, host: str, results: t.Iterable[Row], resource_ids: object = None) -> Report:
        """By the results of the tasks that have started the tests, and waited for them: of each machine the last."""
        newest = {test.machine: test for test in map(Tested.of, results)}
        return cls(host, tuple(newest.values()), resource_ids=unique_ids(resource_ids))

    @classmethod
    def of_plan(cls, plan: Row, results: t.Iterable[Row]) -> Report:
        """The same of the machines of a purchase."""
        return replace(cls.of(plan["host"], results), offer_id=plan["offer_id"] if plan["registry"] else "")

    def has_ended(self, entry: Entry, now: float) -> bool:
        """Whether what was tested has ended, or begun to, by what the registry says of the host by now.

        ``now``: seconds since the epoch by the clock that noted the entry.
        """
        if self.offer_id:
            is_noted = entry.may_have_bought and entry.offer_id in ("", self.offer_id)
        else:
            is_noted = not (self.resource_ids and set(self.resource_ids).isdisjoint(entry.resource_ids))
        return not is_noted or lease.end_begun(entry.reaped_at, now) is not None

    def as_noted(self, entry: Entry, now: float) -> Report:
        """The report beside what the registry says of the host: a machine that ends, or has ended, is not bad.

        Without an entry it is a machine of the user's own, if it answers. ``now``: by the clock that noted the entry.
        """
        answered = any(test.result.get("verdict") for test in self.tests)
        runs = not self.has_ended(entry, now) and (entry.resource_ids or answered)
        return self if runs else Report(self.host, ())

    @property
    def verdict(self) -> str:
        """The worst of its machines."""
        return max((test.verdict for test in self.tests), key=VERDICTS.index, default=NO_MACHINE)

    @property
    def is_tested(self) -> bool:
        """Whether a test of one of its machines has said anything."""
        return any(test.is_done for test in self.tests)

    @property
    def passes(self) -> bool:
        """Whether all of its machines are kept."""
        return self.verdict != "bad"

    def reasons(self, verdict: str) -> str:
        """What was said of the machines with this verdict; of several machines with their names."""
        return "; ".join(
            (f"{test.machine}: " if len(self.tests) > 1 else "") + "; ".join(test.reasons)
            for test in self.tests
            if test.verdict == verdict
        )

    def noted(self, now: float) -> dict[str, t.Any]:
        """What the registry keeps of a test of machines that run; of the reasons as much as fits into a line or two."""
        reasons = joined(*(f"{word}: {self.reasons(word)}." for word in VERDICTS[2:] if self.reasons(word)))
        return {"at": utc(now), "verdict": self.verdict, "reasons": printable(reasons, LONGEST_LINE)}

    @property
    def cause(self) -> str:
        """Why a machine is not kept."""
        return f"it did not pass its test: {self.reasons('bad')}."

    @property
    def trouble(self) -> str:
        """Why a test of what runs fails: a machine is bad, or could not be tested. Empty if all is well."""
        if not self.passes:
            return f"{self.host}: {self.cause}"
        return "" if all(test.is_done for test in self.tests) else f"{self.host}: {self.reasons('unknown')}."

    @property
    def warnings(self) -> list[str]:
        """What a person should know of machines that are kept."""
        reasons = [(word, self.reasons(word)) for word in ("degraded", "unknown")]
        return [f"{self.host} is kept, but {word}: {text}." for word, text in reasons if text]


def verdict_lines(reports: t.Iterable[Report]) -> list[str]:
    """The verdicts of machines that run, for people."""
    return [
        line
        for report in reports
        for line in (
            f"{report.host}: {report.verdict}",
            *(f"  {reason}" for test in report.tests for reason in test.reasons),
        )
    ]


def why_verify_fails(reports: t.Collection[Report]) -> str:
    """Which machines that run are not sound, and how to end them, or could not be tested; empty if all is well."""
    if reports and not any(report.tests for report in reports):
        return "Nothing was tested: none of these hosts has a machine that could be."
    bad = [report for report in reports if not report.passes]
    option = end_option(report.host for report in bad)
    end = f"Nothing was ended; compute_index.supply.decommission {option} would do that." if bad else ""
    return joined(*(report.trouble for report in reports), end)


def why_no_evidence(report: Report) -> str:
    """Why there is no evidence then: what the test says is about its end."""
    return f"By its registry, somebody has ended the machine of {report.host} while it was tested."


def bundle(report: Report, plan: Row, entry: Entry, now: float) -> dict[str, t.Any]:
    """The evidence against a machine: its offer, its tests, what it has cost (USD), and a digest of all the rest.

    ``now``: seconds since the epoch by the clock that noted the purchase, as all of its moments.
    """
    reasons = (reason for test in report.tests if test.verdict == "bad" for reason in test.reasons)
    price, offer = entry.price_per_hour, entry.offer or plan["offer"]
    bill = Bill("", report.host, "", price_per_hour=price, begin=seconds_of(entry.journaled_at), end=now)
    whole: dict[str, t.Any] = {
        "host": report.host,
        "offer_id": entry.offer_id or plan["offer_id"],
        "resource_ids": list(entry.resource_ids),
        "offer": dict(offer),
        # What `candidates` reads, also of what a shared registry keeps of it
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
    return signed(whole)


def signed(whole: Row) -> dict[str, t.Any]:
    """A bundle with the SHA-256 of its JSON, whose keys are sorted, without the digest itself."""
    rest = {name: value for name, value in whole.items() if name != "sha256"}
    return {**rest, "sha256": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def fitted_to_note(whole: Row, most: int = MOST_NOTED) -> dict[str, t.Any]:
    """What fits into a claim's note: no raw output, and findings only if there is room for those that are not `ok`."""
    machines = [{name: row[name] for name in row if name != "evidence"} for row in whole["machines"]]
    for row in machines:
        row["findings"] = [finding for finding in mappings_in(row.get("findings")) if finding.get("verdict") != "ok"]
    smaller = signed({**whole, "machines": machines})
    if len(json.dumps(smaller)) <= most:
        return smaller
    few = [{"machine": row["machine"], "verdict": row["verdict"]} for row in machines[:100]]
    return signed({**whole, "offer": {}, "machines": few})


def refusal(report: Report, place: str, trouble: str) -> str:
    """Why the machine is not kept, and where the evidence is; ``trouble``: why it could not be kept."""
    lost = f"The evidence could not be kept: {trouble}" if trouble else ""
    return joined(report.cause, f"The evidence is in {place}." if place else "", lost)
