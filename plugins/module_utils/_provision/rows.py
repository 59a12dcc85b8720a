# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans and verdicts as plain mappings for the role's tasks, and the lines at the end of a play.

The mappings are readable at -v. Prices are in USD per hour, bills in USD, times in seconds since the epoch.
"""

from __future__ import annotations

import os
import shlex
import typing as t
from dataclasses import replace

from .._text import (
    LINE,
    end_option,
    ids_in_words,
    joined,
    narrow_table,
    nodes_of,
    number_of,
    ranges,
    read_price,
    row_line,
    summary_of,
    usd,
    usd_short,
    wrapped,
)
from . import acceptance, lease, storage
from .acceptance import UNSOUND
from .candidates import Case
from .declaration import why_protected
from .entry import (
    MADE,
    PLAN,
    facts_of_first_boot,
    facts_of_machine,
    further_names,
    instances_in_order,
    is_kept,
    is_registered,
    names_taken,
    owned_row,
    tasks_that_reach,
)
from .judging import JudgedHost, bought_and_billed
from .lease import API_CLOCK, NOTED_BY, Clock
from .messages import NOTHING_SENT
from .place import Place, place_of, shortest_path
from .planning import BUY, KEEP, LATER, STOP, WAIT, Plan
from .purchase import Verdict
from .rounds import Common, HostVerdict, Released, published
from .search import UNLIMITED, add_up, total_of
from .standing import HostState, Status

Row = dict[str, t.Any]

Answers = t.Collection[t.Mapping[str, t.Any]]  # the results of deletions

_LARGEST = 8  # GPUs of one machine
# Labels of tasks for hosts that do not buy
_LABELS = {STOP: "{0}: no machine, see error", KEEP: "runs as registered, {1}", WAIT: "is bought, {1}"}
# The role's task files before anything is bought; for a machine that runs see `tasks_that_reach`
_FIRST = {STOP: "stop", LATER: "later"}
# Its task files after a verdict
_NEXT = {Verdict.AGAIN: "round", Verdict.RELEASE: "give_back", Verdict.STOP: "stop"}


def keep_if_as_registered(case: Case, draft: Plan, status: Status, known_hosts: str) -> Plan:
    """The plan; changed from WAIT to KEEP if the host's one machine runs as registered and only needs to be reached.

    ``status``: the status of its offer. ``known_hosts``: the file that pins its host keys.
    """
    host, entry, ids = case.host, case.entry, case.standing.resource_ids
    connections = instances_in_order(status.get("connections") or [], entry.instances, ids)
    # A cluster's further machines must be added as hosts in each run.
    if draft.action != WAIT or case.standing.kind is not HostState.READY or len(connections) != 1:
        return draft
    facts = facts_of_machine(
        case.standing.offer_id, ids, connections, entry.price_per_hour, host.trust, known_hosts, host.identity_file
    )
    if not host.registry.hands_facts:
        return replace(draft, action=KEEP) if is_registered(facts, entry, host.known) else draft
    # Ansible loads these variables from no file.
    ends = {lease.ENDS_AT: entry.ends_at, lease.AT_MOST: entry.at_most} if entry.ends_at else {}
    facts.update({**ends, **storage.storage_ids_variable(storage.merged_storage(case.kept_storage, entry.storage))})
    return replace(draft, action=KEEP, facts=facts) if is_kept(facts, entry) else draft


def note_of_adoption(case: Case, clock: Clock) -> Row:
    """The registry entry of a machine that the host adopts, with the lease that begins now; empty without one."""
    standing = case.standing
    if not standing.adopted:
        return {}
    return {
        "provision_procured_offer_id": standing.offer_id,
        "provision_price_per_hour": standing.price_per_hour,
        "provision_purchase": MADE,
        "provision_adopted": True,
        NOTED_BY: API_CLOCK,  # its time of creation is by this clock
        "provision_resource_ids": list(standing.resource_ids),
        "provision_journaled_at": next((m["created_at"] for m in standing.machines if m.get("created_at")), None),
        **({"provision_groups": list(case.host.groups)} if case.host.groups else {}),
        **(storage.storage_variables(standing.brings) if standing.brings else {}),
        **case.host.noted(clock),
    }


def changes_of_protection(case: Case, clock: Clock) -> Row:
    """The changes of a registry entry if the protection of the host's machine begins or ends; empty for none."""
    is_kept = not (case.is_void or case.standing.adopted)
    return case.host.changed_protection(case.entry, clock.now()) if is_kept else {}


def unless_names_are_taken(draft: Plan, inventory: t.Container[str]) -> Plan:
    """The plan; stopped if the inventory already has hosts with the names of a cluster's further machines."""
    taken = [name for name in further_names(draft.host, nodes_of(draft.offer) or 1) if name in inventory]
    if draft.action != BUY or not taken:
        return draft
    return replace(draft, action=STOP, refusal=f"{names_taken(draft.host, taken)} {NOTHING_SENT}")


def plan_row(
    draft: Plan, case: Case, *, round_id: str, declaration: str, known_hosts: str, ahead: float | None, check_mode: bool
) -> Row:
    """The plan of one host. ``declaration``: the id of its declaration.

    ``ahead``: seconds by which the API's clock is ahead of this computer's, for steps that do not call the API.
    """
    host = case.host
    # An adopted machine may be in use, and this purchase did not buy it.
    unused = not (case.entry.was_ready or case.standing.adopted)
    releases = host.on_failure == "release" and unused and not check_mode
    spared = why_protected(host.host, host.protect, case.entry)
    return {
        "host": draft.host,
        "round": round_id,
        "declaration": declaration,
        "action": draft.action,
        # The role's task files, before and after anything is bought
        "first": "seeded" if draft.action == BUY and host.trust == "seeded" else _FIRST.get(draft.action, ""),
        "next": tasks_that_reach(host.reach, bool(case.verifies), case.entry, host.trust, host.registry.keeps_host_keys)
        if draft.action == KEEP
        else "",
        "facts": {**draft.facts, **facts_of_first_boot(case.entry)} if draft.facts else {},
        "offer_id": draft.offer_id,
        "offer": dict(draft.offer),
        "price_per_hour": draft.price_per_hour,
        "resource_ids": list(draft.resource_ids),
        "label": draft.label or _LABELS[draft.action].format(draft.host, usd_short(draft.price_per_hour)),
        "error_class": draft.error_class,
        "refusal": draft.refusal,
        "owned": case.standing.owns,
        "wanted": bool(host.offer_id),
        "advice": host.advice,
        "unused": unused,
        # No purchase was ever sent for it, so a machine that is listed already is not its own.
        "is_new": case.standing.kind is HostState.FREE,
        "attempts_left": case.attempts_left,
        "attempts": [dict(attempt) for attempt in case.attempts],
        "may_release": releases and not spared,
        # The message if only the protection keeps the role from releasing the machine
        "spared": f"It was not released. {spared}" if releases and spared else "",
        "registry": host.registry.text,
        "known_hosts_file": known_hosts,
        "trust": host.trust,
        "identity_file": host.identity_file,
        "name": host.name,
        "groups": list(host.groups),
        "poll": poll([case], check_mode=check_mode),
        "cluster": bool(host.cluster_name) or _is_cluster(draft),
        "verify": case.verifies,
        "verify_seconds": 0 if check_mode else acceptance.SECONDS.get(case.verifies, 0),
        "expected": dict(host.expected),
        "reach": host.reach,
        "lease": host.lease.text,
        "ahead": ahead,
        "keeps": [item.variables for item in case.kept_storage],
        "ends_storage": host.ends_storage,
    }


def _is_cluster(draft: Plan) -> bool:
    """Whether the offer has several machines, or more GPUs than one machine can have."""
    return (nodes_of(draft.offer) or 1) > 1 or (number_of(draft.offer.get("gpu_count")) or 1) > _LARGEST


def poll(cases: t.Sequence[Case], *, check_mode: bool) -> Row:
    """The shortest delay and the most retries that any host wants for the common wait; check mode looks once.

    The role cannot detect check mode itself: a single task, block or play may be in check mode while
    `ansible_check_mode` is false.
    """
    return {
        "delay": min((case.host.poll_delay for case in cases), default=0),
        "retries": 0 if check_mode else max((case.host.poll_retries for case in cases), default=0),
    }


def purchase_row(draft: Plan, case: Case, row: Row, account: str, note: t.Mapping[str, t.Any]) -> Row:
    """The ``options`` of procure_offer, and the ``note`` that the registry keeps with the purchase.

    It is small, since Ansible returns all of it with the task's result. ``row``: the host's `plan_row`; ``note``: what
    begins with the purchase, such as the lease. Options without a value are included, or module_defaults would set
    them. Registry files do not know other controllers, so with files only the plan checks the project's total.
    """
    host = case.host
    limits = {
        "max_price_per_hour": draft.max_price_per_hour,
        "max_total_price_per_hour": host.max_total_price_per_hour if host.registry.keeps_sums else UNLIMITED,
        "max_account_price_per_hour": draft.max_account_price_per_hour,
    }
    return {
        **{name: row[name] for name in ("label", "cluster", "poll")},
        "options": {
            "offer_id": draft.offer_id,
            "resource_name": host.name,
            "cluster_name": host.cluster_name or None,
            "price_per_hour": draft.price_per_hour,
            **{name: None if limit == UNLIMITED else limit for name, limit in limits.items()},
            "registry_file": host.registry_file or None,
            "project": host.project,
            "host": host.host,
            "account": account,
            "sealed": dict(host.sealed_order),
        },
        "note": {
            "provision_offer": storage.noted_offer(draft.offer),
            "provision_groups": list(host.groups),
            **({PLAN: host.plan_number} if host.plan_number else {}),
            **note,
        },
    }


def common_part(
    plans: t.Sequence[Plan],
    cases: t.Sequence[Case],
    rows: t.Sequence[Row],
    *,
    serial: bool,
    check_mode: bool,
    **further: t.Any,
) -> Row:
    """The part of a round for all hosts, with ``further`` fields of `rounds.Common`."""
    return Common(
        # With serial, no host can skip a task for all: ansible-core 2.21 keeps a task's run_once for later batches.
        all_skip_first=not serial and not any(row["first"] for row in rows),
        all_skip_next=not serial and not any(row["next"] for row in rows),
        acquires=any(draft.action in (BUY, WAIT) for draft in plans),
        under_way=[draft.offer_id for draft in plans if draft.action == WAIT],
        labels={draft.offer_id: draft.host for draft in plans if draft.offer_id},
        poll=poll(cases, check_mode=check_mode),
        **further,
    ).mapping


def rows_to_act_on(rows: t.Iterable[Row]) -> list[Row]:
    """The rows of hosts for which the role has tasks to run."""
    return [row for row in rows if row["action"] != KEEP or row["next"] or row["facts"]]


def above_ceilings(table: t.Iterable[Row]) -> list[Row]:
    """The rows of hosts that a ceiling of several hosts stops."""
    return [row for row in table if row["error_class"] == "price"]


def published_stats(plans: t.Sequence[Plan], cases: t.Sequence[Case]) -> Row:
    """The statistics that AWX publishes for a workflow; empty without any."""
    pairs = list(zip(plans, cases))
    kept = {draft.host: owned_row(draft.host, case.entry) for draft, case in pairs if draft.action == KEEP}
    data: Row = {"provision_hosts": kept} if kept else {}
    if any(case.host.patience.spans_runs for case in cases):
        data["provision_waiting"] = [draft.host for draft in plans if draft.action == LATER]
    return published(data)


def verdict_row(case: JudgedHost, verdict: Verdict) -> Row:
    """A host's verdict, for the role's tasks."""
    plan, attempts = case.plan, [*case.plan["attempts"], *case.attempt_rows(verdict)]
    facts, stop, then = {}, "", _NEXT.get(verdict, "prepare")
    if verdict is Verdict.READY:
        facts = case.facts()
        if len(case.instances) == 1:
            is_shared = place_of(plan["registry"]).keeps_host_keys
            then = tasks_that_reach(plan["reach"], bool(plan["verify"]), case.entry, plan["trust"], is_shared)
    elif verdict is Verdict.STOP:
        stop = case.failure(case.attempt(), [attempt["offer_id"] for attempt in attempts])
        facts = case.left_open()
    return HostVerdict(
        host=case.host,
        round=plan["round"],
        next=then,
        stop=stop,
        again=_NEXT.get(verdict) == "round",
        attempts=attempts,
        facts=facts,
        # The ids that the role may end, now or if the machine proves unusable
        release=case.endable if verdict in (Verdict.RELEASE, Verdict.READY) else (),
    ).mapping


def is_over(case: JudgedHost, ended: Answers) -> bool:
    """Whether billing has stopped for all resources that were to end, and for all that may be billed."""
    stopped = {item.get("resource_id") for item in ended if item.get("billing_stopped")}
    return bool(stopped) and stopped.issuperset([*case.billed, *(item.get("resource_id") for item in ended)])


def released(
    case: JudgedHost, attempts: t.Sequence[Row], ended: Answers, unsound: str, *, check_mode: bool
) -> Released:
    """The next step after a release, by the deletions' results (``ended``); storage is decided elsewhere.

    While something of the purchase may still be billed, the host stops. ``attempts``: the last one bought the machines.
    ``unsound``: why a machine failed its test; empty if it did not.
    """
    if not is_over(case, ended):
        left = "; ".join(str(item.get("msg")) for item in ended if not item.get("billing_stopped"))
        money = joined(left, bought_and_billed(case.price_per_hour, case.ids))
        # The other machine with the host's name is billed as well.
        stop = joined(money, case.failure(case.attempt(), ())) if case.namesakes else joined(case.reason(), money)
        return Released(round=case.plan["round"], next="stop", stop=stop, attempts=attempts, money=money)
    tried = [*attempts[:-1], *(_ended(case, last, ended, unsound) for last in attempts[-1:])]
    verdict = case.verdict(check_mode, released=True, unsound=bool(unsound))
    return Released(
        round=case.plan["round"],
        next=_NEXT.get(verdict, "stop"),
        stop=case.failure(case.attempt(released=True), [item["offer_id"] for item in tried]),
        again=_NEXT.get(verdict) == "round",
        attempts=tried,
        over=True,
        money=case.given_back,
    )


def _ended(case: JudgedHost, attempt: Row, ended: Answers, unsound: str) -> Row:
    """The attempt with the ids of its ended machines, and a message about what is still billed."""
    tested = {"error_class": UNSOUND, "msg": unsound} if unsound else {}
    row = {**attempt, "ended": sorted(item["resource_id"] for item in ended), **tested}
    return {**row, "msg": joined(str(row.get("msg") or ""), case.given_back)}


# Sweeps


def _begins_lease(case: Case, draft: Plan) -> bool:
    return bool(case.host.lease) and (draft.action == BUY or case.adopts_into_registry)


def unswept_places(cases: t.Sequence[Case], plans: t.Sequence[Plan]) -> list[Place]:
    """The registries in which leases begin now, for a warning if no sweep enforces them."""
    pairs = [(case, draft) for case, draft in zip(cases, plans) if _begins_lease(case, draft)]
    return [case.host.registry for case, _draft in pairs if case.host.unswept != "refuse"]


# The lines at the end


def columns(rows: t.Sequence[Row], *, has_config: bool) -> dict[str, str]:
    """The columns of the table of machines; without an ssh configuration each row has its own ssh command."""
    return {
        "host": "host",
        **({"machines": "machines"} if any(row["machines"] > 1 for row in rows) else {}),
        "USD/hour": "price_per_hour",
        **({"until": "ends_at", "at most": "at_most"} if any(row["ends_at"] for row in rows) else {}),
        **({"address": "ansible_host"} if has_config else {"ssh": "ssh"}),
    }


def login_command(ssh_config: str, here: str) -> str:
    """The ssh command to which a host's name is added. ``here``: the folder in which Ansible was started."""
    return f"ssh -F {shlex.quote(shortest_path(ssh_config, here))}"


def line_of_registries(names: t.Sequence[str], here: str) -> str:
    """A line with the ``names`` of the hosts' registries."""
    shown = ", ".join(shortest_path(name, here) if os.path.isabs(name) else name for name in names)
    return f"registry: {shown}" if names else "no registry: machines are known only by name"


def closing_lines(rows: t.Sequence[Row], common: Common) -> list[str]:
    """The lines at the end of a play about the machines (``rows``) that are known to run."""
    hosts = [str(row["host"]) for row in rows]
    would = f"Without --check this buys {common.would}." if common.would else ""
    option = f"  {end_option(hosts)}"
    ends = [
        f"To end {'them' if len(hosts) > 1 else 'it'}: compute_index.supply.decommission",
        option if len(option) <= LINE else "  -e decommission_hosts=<host>",
    ]
    return [
        *_table(rows, columns(rows, has_config=bool(common.logins))),
        *wrapped(would, indent="  "),
        *wrapped(common.registry, indent="  "),
        *(ends if hosts else []),
        *(f"{login} {host}" for login in common.logins for host in hosts[:1]),
    ]


def configured_lines(hosts: t.Sequence[str], rows: t.Sequence[Row], common: Common) -> list[str]:
    """The lines about ``hosts`` that were configured, with the ``rows`` that this play knows."""
    total = total_of(read_price(row["price_per_hour"]) for row in rows) if len(rows) == len(hosts) else None
    costs = "" if total is None else f", {usd(total)}{' in total' if len(rows) > 1 else ''}"
    logins = [f"{login} {row['host']}" for login in common.logins for row in rows[:1]]
    return [
        *wrapped(f"Configured: {', '.join(ranges(hosts))}{costs}", indent="  "),
        *(logins or [str(row["ssh"]) for row in rows[:1]]),
    ]


def _table(rows: t.Sequence[Row], columns: t.Mapping[str, str]) -> list[str]:
    """A line for each host and a total; a single host has one line without a header if that is short enough."""
    alone = row_line(rows[0], columns) if len(rows) == 1 else ""
    if alone and len(alone) <= LINE:
        return [alone]
    shorten = [title for title in ("host", "address") if title in columns]
    prices, bills = ([number_of(row[name]) for row in rows] for name in ("price_per_hour", "at_most"))
    # Unknown prices are not in the total.
    total = {"host": "in total", "price_per_hour": add_up(prices).total, "at_most": total_of(bills)}
    return narrow_table([*rows, *([total] if len(rows) > 1 else ())], columns, shorten)


def unusable(host: str, plan: t.Mapping[str, t.Any], failure: t.Mapping[str, t.Any]) -> str:
    """Why a host cannot use its machine, what is billed, and what to do.

    ``failure``: its ``cause``, which Ansible has shown in full, empty if another host's failure stops all hosts;
    ``other_key`` (another host key answers), ``price_per_hour`` (USD), ``resource_ids``, and a message if it was
    ``given_back``.
    """
    other_key = failure["other_key"] in (True, "True")  # ansible-core before 2.19 makes a text of it
    # A shared registry writes its pinned keys into that file again at the next run.
    is_shared = place_of(plan["registry"]).keeps_host_keys
    unchecked = "run with provision_host_key_trust=none, which skips the check"
    way = unchecked if is_shared else "remove that file and run again"
    unknown = (
        f"Its address answers with another host key than the one pinned in {plan['known_hosts_file']}. Someone may"
        " intercept the connection, or the address belongs to another machine. Ask the vendor; if the new key is"
        f" right, {way}."
    )
    billed = (
        f"It is BOUGHT and billed at {usd(read_price(failure['price_per_hour']))}. Resource ids:"
        f" {ids_in_words(failure['resource_ids'])}. Run again to continue, or end it: compute_index.supply.decommission"
        f" {end_option([host])} (in AWX: GPU decommission)."
    )
    if not failure["cause"]:
        return f"{host}: Another host has failed, which ends this play for all hosts. {billed}"
    is_given_back = plan["may_release"] and not other_key
    return joined(
        f"{host} cannot be used:",
        summary_of(failure["cause"]),
        unknown if other_key else "",
        plan["spared"],
        failure["given_back"] if is_given_back else billed,
    )
