# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of an audit: who owns each machine that may be billed, by the rule of `ownership`, and why it fails."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field

from .. import _states
from .._text import (
    age,
    amount,
    folded_lines,
    formatted,
    grouped,
    joined,
    narrow_table,
    one_line,
    seconds_of,
    text_of,
    usd,
)
from . import ending, lease, moving, ownership, storage
from .ending import doubt_about_name
from .entry import Entry
from .messages import missing_lines
from .missing import MissingLook, missing_rows
from .ownership import Machine, Owners, OwnershipClaim, OwnershipProof
from .search import add_up
from .spending import HOUR, Bill, dollars, millionths_of_usd, up_to_cents

Row = dict[str, t.Any]

# A row also has its hosts, age in hours, cost so far (USD, from age and price), and trouble.
_SHOWN = ("resource_id", "name", "offer_id", "status", "vendor", "price_per_hour", "created_at", "valid_to")

# Seconds after which an end counts as stuck. An end takes minutes (decommission waits five).
STUCK = 3600.0


def expected_claims(
    names: t.Iterable[str],
    inventory: t.Iterable[t.Mapping[str, t.Any]],
    registered: t.Container[str] = (),
    *,
    is_shared: bool,
) -> list[OwnershipClaim]:
    """The claims of hosts that a person expects by these names, in the project of localhost.

    As in the role, a name claims nothing for a host with a registry (``registered``), which would know its machine, and
    for no host if the registry is shared.
    """
    if is_shared:
        return []
    prefix = next((str(item.get("prefix") or "") for item in inventory if item["host"] == "localhost"), "")
    hosts = (host for host in filter(None, map(str.strip, names)) if host not in registered)
    return [OwnershipClaim(host, prefix + host.removeprefix(prefix), by_name=True) for host in hosts]


@dataclass
class Audit:
    """The sections of the report: rows of machines with their ``hosts`` and ``trouble``.

    - ``claimed``: by a host of the inventory or of ``audit_names``; ``unlisted``: by one that only a registry knows.
    - ``contested``: by several hosts; ``orphans``: by none.
    - ``ending``: being deleted, so they may be billed; with ``ending_hours``, if known.
    - ``gone``: claimed, but ended or unknown to the API.
    - ``buying``: purchases that may be billed, without a known machine (`note_buying`).
    - ``missing``: hosts whose machines a look did not find, and that may be billed (`note_missing`).
    - ``elsewhere``: claimed, but probably bought by another account, so not checked (`note_missing`).
    - ``storage``: of hosts, with a machine or after it. ``tested``: the last tests of machines (`note_tests`).
    - ``leases``: the end and the largest bill (USD) of each lease, by host.
    """

    claimed: list[Row] = field(default_factory=list)
    unlisted: list[Row] = field(default_factory=list)
    contested: list[Row] = field(default_factory=list)
    orphans: list[Row] = field(default_factory=list)
    ending: list[Row] = field(default_factory=list)
    gone: list[Row] = field(default_factory=list)
    buying: list[Row] = field(default_factory=list)
    missing: list[Row] = field(default_factory=list)
    elsewhere: list[Row] = field(default_factory=list)
    storage: list[Row] = field(default_factory=list)
    tested: list[Row] = field(default_factory=list)
    leases: dict[str, Row] = field(default_factory=dict)

    def note_missing(self, entries: t.Iterable[tuple[str, Entry]], look: MissingLook, now: float) -> None:
        """Show the machines that the look does not find, apart from those that are gone. ``now``: since the epoch."""
        entries = list(entries)
        self.missing = sorted(missing_rows(entries, look, now), key=lambda row: str(row["host"]))
        theirs = {item for _host, entry in entries if look.is_elsewhere(entry) for item in entry.resource_ids}
        self.elsewhere = [row for row in self.gone if row["resource_id"] in theirs]
        unseen = theirs.union(*(row["resource_ids"] for row in self.missing))
        self.gone = [row for row in self.gone if row["status"] or row["resource_id"] not in unseen]

    def note_buying(self, entries: t.Iterable[tuple[str, Entry]]) -> None:
        """Show the purchases of these hosts that have no known machine yet, so that every cost is visible."""
        owned = (*self.claimed, *self.unlisted, *self.contested, *self.ending)
        shown = {str(row["offer_id"] or "").lower() for row in owned}
        self.buying = [
            {
                "host": host,
                "offer_id": entry.offer_id,
                "price_per_hour": entry.price_per_hour,
                "since": entry.journaled_at,
                "run": entry.held_by or entry.bought_by,
            }
            for host, entry in sorted(entries, key=lambda each: each[0])
            if entry.offer_id and not (entry.resource_ids or entry.is_refused or entry.offer_id in shown)
        ]

    def note_read(self, read: t.Mapping[str, Machine | None]) -> None:
        """Remove the orphans that have ended by their own pages, since a list may lag."""
        pages = ((row, read.get(ownership.id_of(row)) or row) for row in self.orphans)
        self.orphans = [row for row, page in pages if not _states.is_gone(page["status"])]

    def note_tests(self, entries: t.Iterable[tuple[str, Entry]]) -> None:
        """Show the last test of these hosts' machines: its moment, verdict and reasons."""
        tested = [(host, entry.tested) for host, entry in entries if entry.tested and entry.resource_ids]
        words = ("at", "verdict", "reasons")
        self.tested = [
            {"host": host, **{word: one_line(text_of(test.get(word))) for word in words}}
            for host, test in sorted(tested, key=lambda item: item[0])
        ]

    def note_leases(self, entries: t.Iterable[tuple[str, Entry]]) -> None:
        """Show the ends of these hosts' leases, the next one first, and the costs until then."""
        ends = [(entry.ends_at, host, entry.at_most) for host, entry in entries if entry.ends_at]
        ends.sort(key=lambda each: each[:2])
        self.leases = {host: {"ends_at": ends_at, "at_most": at_most} for ends_at, host, at_most in ends}

    @property
    def billed(self) -> list[Row]:
        """All rows that are or may be billed."""
        return [*self.claimed, *self.unlisted, *self.contested, *self.storage, *self.orphans, *self.ending]

    @property
    def stuck(self) -> list[Row]:
        """The machines whose end takes so long that a person must ask why."""
        return [row for row in self.ending if (row["ending_hours"] or 0.0) * HOUR > STUCK]

    @property
    def doubled(self) -> list[Row]:
        """The live orphans with the name of a host that has bought something: it may have bought twice."""
        doubts = (ending.NAMESAKE, ending.UNNAMED)
        return [row for row in self.orphans if row["trouble"] in doubts and _states.is_live(row["status"])]

    @property
    def published(self) -> Row:
        """The report for a workflow. ``claimed``: everything that a host claims. ``price_per_hour``, ``usd``: sums."""
        claimed = sorted([*self.claimed, *self.unlisted, *self.contested], key=lambda row: row["hosts"])
        parts = {"claimed": claimed, "storage": self.storage, "orphans": self.orphans, "ending": self.ending}
        summed = {**parts, "total": self.billed}
        return {
            **parts,
            "gone": self.gone,
            "buying": self.buying,
            "missing": self.missing,
            "elsewhere": self.elsewhere,
            "tested": self.tested,
            "leases": self.leases,
            "price_per_hour": {
                name: add_up(row["price_per_hour"] for row in rows).total for name, rows in summed.items()
            },
            "usd": {name: add_up(row["usd"] for row in rows).total for name, rows in summed.items()},
            "unpriced": add_up(row["price_per_hour"] for row in self.billed).unknown,
        }


def audit_by_owners(
    resources: t.Iterable[Machine], claims: t.Iterable[OwnershipClaim], inventory: t.Container[str], now: float
) -> Audit:
    """The audit of the account's resources and their owners. ``inventory``: its hosts. ``now``: since the epoch."""
    machines, storage, claims = ownership.machines_and_storage(resources, claims)
    owned = ownership.owners([machine for machine in machines if not _states.is_ending(machine["status"])], claims)
    doubts = _doubts(owned)
    result, near = Audit(gone=list(_gone(machines, claims))), _Near(claims)
    for machine, owner in owned:
        trouble = ending.SEVERAL_HOSTS if owner.is_contested else doubts.get(id(machine), "")
        _note_machine(result, machine, owner, trouble, near, inventory)
    deleting = [machine for machine in machines if _states.is_under_deletion(machine["status"])]
    _note_ending(result, ownership.owners(deleting, claims), near, now)
    _note_storage(result, ownership.not_gone(storage), claims)
    _complete(result, now)
    return result


def _note_ending(result: Audit, owned: t.Iterable[tuple[Machine, Owners]], near: _Near, now: float) -> None:
    """Add machines that are being deleted, with the hours since that began."""
    for machine, owner in owned:
        hosts = owner.hosts or near.claims(machine)[0]
        result.ending.append({**_row(machine, hosts, ""), "ending_hours": near.ending_hours(machine, hosts, now)})


def _complete(result: Audit, now: float) -> None:
    """Sort the rows, and add their age and cost so far."""
    for rows in (result.claimed, result.unlisted, result.contested, result.ending, result.storage):
        rows.sort(key=lambda row: row["hosts"])
    for row in result.billed:
        begin = seconds_of(row["created_at"])
        if (seconds_of(row["valid_to"]) or 0.0) <= now:  # a past moment is no end
            row["valid_to"] = None
        if begin is not None:
            row["hours"] = round(max(0.0, now - begin) / HOUR, 4)
            price = row["price_per_hour"]
            row["usd"] = None if price is None else dollars(millionths_of_usd(price, begin, now))


def _note_storage(result: Audit, storage: t.Iterable[Machine], claims: t.Sequence[OwnershipClaim]) -> None:
    """Add storage that is billed, with its owners, or as an orphan."""
    owners_of = _storage_owners(claims)
    for item in storage:
        hosts = list(dict.fromkeys(claim.storage_of or claim.host for claim in owners_of(item)))
        (result.storage if hosts else result.orphans).append(_row(item, hosts, "" if hosts else _ODD_STORAGE))


_ODD_STORAGE = "storage of no registered machine"


def _storage_owners(claims: t.Sequence[OwnershipClaim]) -> t.Callable[[Machine], t.Sequence[OwnershipClaim]]:
    """A function that returns the owners of storage: by its id, else by the offer that brought it."""
    by_id = grouped((item, claim) for claim in claims for item in claim.storage_ids)
    by_offer = grouped((claim.offer_id, claim) for claim in claims if claim.bought and claim.offer_id)
    return lambda item: by_id.get(ownership.id_of(item)) or by_offer.get(ownership.offer_of(item), [])


def _note_machine(
    result: Audit, machine: Machine, owner: Owners, trouble: str, near: _Near, inventory: t.Container[str]
) -> None:
    """Add a machine that is not ending to its section. ``trouble``: why its owner is in doubt; empty if it is not."""
    if not owner.hosts:
        result.orphans.append(_row(machine, *near.claims(machine)))
    elif trouble:
        result.contested.append(_row(machine, owner.hosts, trouble))
    else:
        rows = result.claimed if owner.hosts[0] in inventory else result.unlisted
        rows.append(_row(machine, owner.hosts, near.mismatch(machine, owner)))


def under_deletion(machines: t.Iterable[Machine]) -> set[str]:
    """The ids of the machines that are being deleted."""
    ending_now = (machine for machine in machines if _states.is_under_deletion(machine["status"]))
    return {str(machine["resource_id"]) for machine in ending_now if machine["resource_id"]}


def _doubts(owned: t.Iterable[tuple[Machine, Owners]]) -> dict[int, str]:
    """Why a host's claim by name is in doubt, by the `id` of the machine object."""
    by_name = ((owner.hosts[0], machine) for machine, owner in owned if owner.proof is OwnershipProof.NAME)
    groups = grouped(by_name).values()
    return {id(machine): doubt_about_name(machines) for machines in groups for machine in machines}


class _Near:
    """Finds claims to the offer or name of a machine that do not prove whose it is."""

    def __init__(self, claims: t.Iterable[OwnershipClaim]) -> None:
        claims = list(claims)
        self._by_offer = grouped((claim.offer_id, claim) for claim in claims if claim.offer_id)
        self._by_name = grouped((claim.name, claim) for claim in claims)
        self._by_host = grouped((claim.host, claim) for claim in claims)  # several projects may have one name

    def claims(self, machine: Machine) -> tuple[list[str], str]:
        """The hosts that may have bought an orphan, and why their registries do not prove that."""
        near = self._by_offer.get(machine["offer_id"], [])
        if near:
            ids = any(claim.resource_ids for claim in near)
            trouble = ending.NOT_NAMED if ids else ending.STRANGER.format(name=machine["name"] or "nothing")
        else:
            near = [claim for claim in self._by_name.get(machine["name"] or "", []) if claim.is_registered]
            ids = any(claim.resource_ids for claim in near)
            trouble = "" if not near else ending.NAMESAKE if ids else ending.UNNAMED
        return [claim.host for claim in near], trouble

    def ending_hours(self, machine: Machine, hosts: t.Iterable[str], now: float) -> float | None:
        """The hours since the machine's end began, by the API or by the run that ends it; None if unknown."""
        reaped = (claim.reaped_at for host in hosts for claim in self._by_host.get(host, ()))
        moments = map(seconds_of, (machine.get("valid_to"), *reaped))
        begun = [moment for moment in moments if moment is not None and moment <= now]
        return round((now - min(begun)) / HOUR, 4) if begun else None

    def mismatch(self, machine: Machine, owner: Owners) -> str:
        """How the machine of a host differs from its registry entry; empty if it does not."""
        offers = {claim.offer_id for claim in self._by_host[owner.hosts[0]]}
        differs = machine["offer_id"] and offers.isdisjoint({"", machine["offer_id"]})
        return ending.OTHER_OFFER.format(offer_id=machine["offer_id"]) if differs else ""


def _gone(machines: t.Iterable[Machine], claims: t.Iterable[OwnershipClaim]) -> t.Iterator[Row]:
    """The machines that hosts claim by id, and that are gone, or not listed at all."""
    listed = {machine["resource_id"]: machine for machine in machines}
    for claim in claims:
        for resource_id in sorted(claim.resource_ids):
            machine = listed.get(resource_id) or {"resource_id": resource_id, "offer_id": claim.offer_id or None}
            if resource_id not in listed or _states.is_gone(machine["status"]):
                yield _row(machine, [claim.host], "")


def _row(machine: Machine, hosts: t.Iterable[str], trouble: str) -> Row:
    shown = {name: machine.get(name) for name in _SHOWN}
    return {"hosts": list(hosts), **shown, "hours": None, "usd": None, "trouble": trouble}


# The report for people

_RUNS = {"USD/h": "price_per_hour", "age": "age", "USD": "so_far", "resource": "resource_id"}
_OWNED = {"host": "hosts", **_RUNS}
_STORED = {"host": "hosts", "name": "name", **{head: key for head, key in _RUNS.items() if head != "USD"}}
_NAMED = {"name": "name", **_RUNS}
_ENDING = {"name": "who", **_RUNS}
_GONE = {"host": "hosts", "resource": "resource_id"}
_UNDER_WAY = {"host": "host", "USD/h": "price_per_hour", "since": "since", "last run": "run"}
_ENDS = {"host": "host", "until": "ends_at", "USD at most": "at_most"}
_BUYING = "BUYING: purchases that count, with no known machine yet"


def audit_lines(audit: Audit) -> list[str]:
    """The leases, the machines by owners, and the sums."""
    ends = [{"host": host, **terms} for host, terms in audit.leases.items()]
    sections: list[tuple[str, list[Row], dict[str, str]]] = [
        ("CLAIMED by a host", audit.claimed, _OWNED),
        ("ONLY THE REGISTRY KNOWS: not in the inventory", audit.unlisted, _OWNED),
        ("CONTESTED: several hosts claim it, so you must decide", audit.contested, _OWNED),
        ("STORAGE: billed until you end it, even without a machine", audit.storage, _STORED),
        ("ORPHANS: billed, and no host claims them", audit.orphans, _NAMED),
        ("ENDING: being deleted, and billed until it is gone", audit.ending, _ENDING),
        ("GONE: claimed, but ended or unknown to the API", audit.gone, _GONE),
        ("NOT CHECKED: another token bought it, and this one does not find it", audit.elsewhere, _GONE),
    ]
    lines = _titled(["LEASES, next end first"], narrow_table(ends, _ENDS, ["host"]))
    lines += _titled([], folded_lines(_ends_earlier(audit)))
    lines += [line for section in sections for line in _section(*section)]
    lines += [*storage.ADVICE, ""] if audit.storage else []
    lines += [*_END_BY_ID, ""] if audit.orphans else []
    lines += [*_ELSEWHERE, ""] if audit.elsewhere else []
    lines += missing_lines(audit.missing)
    lines += _titled([_BUYING], narrow_table(audit.buying, _UNDER_WAY, ["last run", "host"]))
    tested = folded_lines(f"{row['host']} ({row['at']}): {row['reasons'] or row['verdict']}" for row in audit.tested)
    lines += _titled(["TESTED by the playbook verify"], tested)
    rows = audit.published["claimed"] + audit.storage + audit.orphans
    lines += _titled([], [f"{row['resource_id']}: {row['trouble']}" for row in rows if row["trouble"]])
    return [*lines, *_sum_lines(audit)]


def _sum_lines(audit: Audit) -> list[str]:
    """Lines with the cost so far, and per hour."""
    published = audit.published
    sums = published["price_per_hour"]
    unknown = f", and {published['unpriced']} of unknown price" if published["unpriced"] else ""
    also = {"storage": audit.storage, "orphans": True, "ending": audit.ending}
    names = ["claimed", *(name for name, rows in also.items() if rows)]
    so_far = {name: up_to_cents(published["usd"][name]) for name in names}
    return [f"USD so far: {_added(so_far, names)}", f"USD per hour: {_added(sums, names)}{unknown}"]


def _titled(title: t.Sequence[str], lines: t.Sequence[str]) -> list[str]:
    """A section of the report; empty if it has no lines."""
    return [*title, *lines, ""] if lines else []


def _ends_earlier(audit: Audit) -> t.Iterator[str]:
    """Lines about machines that, by the API, end before their leases, or have none; the API does not say why."""
    for row in (*audit.claimed, *audit.unlisted, *audit.contested):
        leases = (audit.leases[host]["ends_at"] for host in row["hosts"] if host in audit.leases)
        end = next(filter(None, map(lease.moment_of, leases)), math.inf)
        if (moment := seconds_of(row["valid_to"])) is not None and moment < end:
            what = " ".join([*row["hosts"], str(row["resource_id"])])
            before = "" if end == math.inf else ", before its lease"
            yield f"The API says that {what} ends at {formatted(moment)}{before}."


def _added(sums: t.Mapping[str, float], names: t.Iterable[str]) -> str:
    """Sums in USD, with their total."""
    parts = {name: sums[name] for name in names}
    shown = (f"{amount(price)} {name}" for name, price in parts.items())
    return f"{' + '.join(shown)} = {amount(sum(parts.values()))}"


def _section(title: str, rows: t.Sequence[Row], columns: t.Mapping[str, str]) -> list[str]:
    """Tables of the rows, one for each state. The title names the state, since a row has no room for it."""
    shorten = [head for head in columns if head in ("host", "name")]
    groups = grouped((f"{title} ({row['status']})" if row["status"] else title, _shown(row)) for row in rows)
    return [text for head, alike in groups.items() for text in (head, *narrow_table(alike, columns, shorten), "")]


def _shown(row: Row) -> Row:
    """The row with its age and cost in a short form."""
    hours, cost = row["hours"], row["usd"]
    return {
        **row,
        "who": row["hosts"] or row["name"],
        "age": None if hours is None else age(hours * HOUR),
        "so_far": None if cost is None else up_to_cents(cost),
    }


_END_BY_ID = (
    "An orphan may belong to a colleague, or to a registry not read here.",
    "To end an orphan: compute_index.supply.end_by_id",
    "  -e end_resource_id=<resource> -e end_reason=<why>",
)

_ELSEWHERE = (
    "They may be billed. To check them, audit with that token as well.",
    "If it was replaced, run compute_index.supply.decommission for them.",
)

# By section: why an audit fails, and how that names each row
_FAILURES = {
    "contested": (
        "{count} machine(s) are contested: {found}. Each belongs to one host: correct the registry entries or names, or"
        " end the surplus machines by id (compute_index.supply.end_by_id).",
        "{id} ({hosts}: {trouble})",
    ),
    "doubled": (
        "{count} machine(s) have the name of a host whose registry names another machine, or none: {found}. End each"
        " that you do not need by its id (compute_index.supply.end_by_id); if it is another project's, set a"
        " provision_project for one of the two.",
        "{id} ({hosts}, {usd})",
    ),
    "orphans": (
        "{count} orphan(s) cost {together}: {found}. End each by its id with compute_index.supply.end_by_id, unless it"
        " belongs to a colleague, or to a registry not read here. Or adopt a machine: declare a host of its name, and"
        " run compute_index.supply.provision -e provision_adopt=true.",
        "{id}",
    ),
    "stuck": (
        "{count} machine(s) have been ending for more than an hour, and may be billed until they are gone: {found}. Ask"
        " the API's operator to end them; compute_index.supply.decommission then confirms that.",
        "{id} ({usd}, {hours} h)",
    ),
}


def why_audit_fails(
    audit: Audit, unread: t.Iterable[str] = (), over: t.Iterable[Bill] = (), *, fail_on_orphans: bool
) -> str:
    """Why the audit fails; empty if it does not.

    ``unread``: sentences about data that could not be read or noted. ``over``: ended purchases in folders' ledgers;
    those that moved into a registry which is not read here may be billed.
    """
    kinds = [kind for kind in _FAILURES if getattr(audit, kind) and (fail_on_orphans or kind != "orphans")]
    failures = (_failure(*_FAILURES[kind], getattr(audit, kind)) for kind in kinds)
    return joined(*dict.fromkeys(unread), *failures, *moving.moved_away(over, audit.orphans))


def _failure(sentence: str, row_text: str, rows: t.Sequence[Row]) -> str:
    names = (
        row_text.format(
            id=row["resource_id"],
            hosts=", ".join(row["hosts"]),
            trouble=row["trouble"],
            usd=usd(row["price_per_hour"]),
            hours=f"{row.get('ending_hours') or 0.0:.1f}",
        )
        for row in rows
    )
    return sentence.format(
        count=len(rows), found="; ".join(names), together=usd(add_up(row["price_per_hour"] for row in rows).total)
    )
