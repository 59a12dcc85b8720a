# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every sentence about money: what happened, what is billed at what price under which ids, and what to do next.

Those of the purchase itself are in `purchase_messages`. It must not import this file, since procure_offer is shipped
with it.
"""

from __future__ import annotations

import math
import re
import typing as t

from .._text import one_line
from .._wording import amount, ranges, usd, usd_short
from .counted import Count, State
from .purchase_messages import NO_REASON, NOTHING_SENT, ended

Machine = t.Mapping[str, t.Any]

FORGET = "-e decommission_forget=<resource id>"


def ids_of(ids: t.Iterable[str]) -> str:
    """Ids in a sentence."""
    return ", ".join(ids) or "none known yet"


def described(machines: t.Iterable[Machine]) -> str:
    """Machines in a sentence: ids, names, prices, ages."""
    return "; ".join(_described(machine) for machine in machines)


def _described(machine: Machine) -> str:
    facts = [
        f"called {machine['name']}" if machine.get("name") else "without a name",
        str(machine.get("status") or ""),
        usd(machine.get("price_per_hour")),
        f"since {machine['created_at']}" if machine.get("created_at") else "",
    ]
    return f"{machine.get('resource_id') or 'a machine without an id'} ({', '.join(filter(None, facts))})"


def not_declared(host: str) -> str:
    """A role was entered in its middle."""
    return (
        f"{host} has declared nothing, so nothing can be decided for it. The role begins with its first task: leave"
        " --start-at-task out. Nothing was sent."
    )


def no_hosts(group: str) -> str:
    """A play that is for nobody, which would look like success."""
    return (
        f"There is no host in the group '{group}'. Add some to the inventory, or give provision_hosts (names, or how"
        " many)."
    )


def nothing_below(host: str) -> str:
    """A line for a host that stops; its own task says why."""
    return f"{host}: nothing, see below"


# Why nothing is bought for a host


def objections(texts: t.Iterable[str]) -> str:
    """A declaration that cannot be bought."""
    return f"{' '.join(texts)} {NOTHING_SENT}"


def shadowed(files: t.Iterable[str]) -> str:
    """Host variables in a file that Ansible reads no more once there is a folder of its name."""
    return (
        f"{', '.join(files)} would not be read any more: Ansible reads the folder of that name instead, where the"
        " registry is kept. Move it there, for example as main.yml."
    )


def strategy(name: str) -> str:
    """A play whose hosts do not go step by step together."""
    return (
        f"The play's strategy is {name}, under which nothing can be decided for all hosts together. Use linear,"
        f" Ansible's default. {NOTHING_SENT}"
    )


def claimed_twice(host: str, others: t.Iterable[str], offer_id: str, ids: t.Sequence[str]) -> str:
    """Several hosts say that one machine or offer is theirs."""
    parts = [f"offer {offer_id}" if offer_id else "", f"machine {ids_of(ids)}" if ids or not offer_id else ""]
    what = " with ".join(filter(None, parts))
    return (
        f"{host} and {', '.join(others)} claim the same {what}, which belongs to one host. Nothing was bought or"
        " changed. Remove the registry entry, provision_offer_id or provision_resource_name of those that it does not"
        " belong to."
    )


def surplus(host: str, offer_id: str, ids: t.Sequence[str], nodes: int) -> str:
    """A purchase that has brought more machines than the offer has; all of them are billed."""
    return (
        f"Offer {offer_id} of {host} has {nodes} machine(s), and the API says that it bought {len(ids)}: {ids_of(ids)}."
        " All of them are billed and kept. Ask the API's support if that is wrong."
    )


def no_offer(host: str, ids: t.Iterable[str]) -> str:
    """A registry entry, written by hand, that names machines but no offer."""
    return (
        f"The registry entry of {host} names machine {ids_of(ids)}, but no offer. Add its provision_procured_offer_id:"
        f" compute_index.supply.resource_info shows it. {NOTHING_SENT}"
    )


def cannot_be_asked(host: str, offer_id: str, text: str, price: float | None, ids: t.Iterable[str]) -> str:
    """What became of the registered offer cannot be read."""
    return (
        f"What became of offer {offer_id}, which the registry names for {host}, cannot be read: {text}"
        f" {may_be_billed(price, ids)} Nothing else was bought. Run again."
    )


def gone_missing(host: str, offer_id: str, ids: t.Iterable[str], what: str, file: str) -> str:
    """The registry says bought, the API says something else that is no proof of an end."""
    return (
        f"The registry says that {host} has bought offer {offer_id} (machine {ids_of(ids)}), but {what}. The machine"
        " may be billed all the same, so nothing else was bought. Is the token of the account that bought it? If the"
        f" machine is gone for certain: compute_index.supply.decommission -e decommission_hosts={host} {FORGET}."
        f"{f' The registry file is {file}.' if file else ''}"
    )


def missing_first(host: str, ids: t.Sequence[str], price: float | None) -> str:
    """A first look did not find the machines of a host."""
    return (
        f"{host}: MISSING: the API finds {ids_of(ids)} ({usd(price)}) neither by id nor in its list. The machine may be"
        " billed, so the host keeps it, and it counts. If a look half an hour from now or later does not find it"
        " either, it no longer counts in ceilings per hour."
    )


def missing_second(host: str, ids: t.Sequence[str], price: float | None) -> str:
    """A second look did not find them either."""
    return (
        f"{host}: MISSING for half an hour or more: {ids_of(ids)} ({usd(price)}). The machine no longer counts in"
        f" ceilings per hour. It may be billed, so the host keeps it, and nothing else is bought for it."
        f" {if_gone(host, ids)}"
    )


def still_missing(host: str, since: str, ids: t.Sequence[str], price: float | None) -> str:
    """A host that would need a machine, and whose own one is missing."""
    return (
        f"The machine of {host} is MISSING since {since}: the API finds {ids_of(ids)} ({usd(price)}) neither by id nor"
        f" in its list. It may be billed, so nothing else was bought. {if_gone(host, ids)}"
    )


def if_gone(host: str, ids: t.Iterable[str]) -> str:
    """What to do about a missing machine."""
    return (
        "Ask the vendor. If it is gone for certain: compute_index.supply.decommission -e"
        f" decommission_hosts={host} -e decommission_forget={','.join(ids)}."
    )


def found_again(host: str, ids: t.Sequence[str], price: float | None) -> str:
    """What was missing is found."""
    return f"{host}: the API finds {ids_of(ids)} again, which was MISSING. Its {usd(price)} count again."


def told_gone(host: str, ids: t.Sequence[str], price: float | None) -> str:
    """The API says of the machines of a host that they have ended, and nobody of ours has told them to."""
    return (
        f"{host}: the API says that {ids_of(ids)} has ended. The registry notes that: its {usd(price)} count no more."
    )


def not_listed(host: str) -> str:
    """The machines of the account cannot be listed."""
    return f"The machines of the account cannot be listed, so {host} may have one already. Nothing was bought."


def namesake(host: str, name: str, machines: t.Iterable[Machine]) -> str:
    """A machine has the host's name, and the host has a registry that does not know it."""
    return (
        f"There is a machine called {name} that the registry of {host} does not know: {described(machines)}. On a"
        f" shared account it may be somebody else's, so it was neither taken nor bought beside. If it is {host}'s, set"
        " provision_adopt: true; else set another provision_resource_name, or a provision_project."
    )


def unseen(host: str, machines: t.Iterable[Machine]) -> str:
    """Machines of the host's name, or of its offer, that only the list shows, and that cannot be read by their ids."""
    return (
        f"The list of machines has {described(machines)} for {host}, and by its id it cannot be read. The list may be"
        " behind an end, or the API behind the list. Nothing was bought and nothing taken over. Run again in a minute."
    )


def several_of_a_name(name: str, machines: t.Iterable[Machine]) -> str:
    """Two offers have machines of one name."""
    return (
        f"Several offers have machines called {name}: {described(machines)}. Nothing was bought. End those that are too"
        " many by their ids (compute_index.supply.delete_resource)."
    )


def doubled(host: str, price: float | None, ids: t.Sequence[str], others: t.Iterable[Machine], later: bool) -> str:
    """After a purchase another machine has the host's name, of another run or of another project."""
    others = list(others)
    too_many = ids if later else [str(item["resource_id"]) for item in others]
    end = "; ".join(
        f"ansible localhost -m compute_index.supply.delete_resource -a resource_id={item}" for item in too_many
    )
    return (
        f"There are two purchases of {host}'s name, and both are billed: {ids_of(ids)} ({usd(price)}), bought now, and"
        f" {described(others)}. If another run has bought that for this host, end the later one: {end}"
    )


def came_late(host: str, offer_id: str, machines: t.Iterable[Machine], *, would: bool) -> str:
    """A purchase that counted as not made was made all the same; ``would``: that is not noted now."""
    noted = f"compute_index.supply.provision notes it as {host}'s" if would else f"It is {host}'s"
    return (
        f"The purchase of offer {offer_id} for {host} counted as not made, and its machine is there all the same:"
        f" {described(machines)}. {noted}."
    )


def no_offer_named(name: str, machines: t.Iterable[Machine]) -> str:
    """The API does not say how a machine of the name was bought."""
    return (
        f"There is a machine called {name}, but the API does not name its offer: {described(machines)}."
        " Nothing was bought."
    )


def does_not_fit(host: str, name: str, machines: t.Iterable[Machine], odd: str) -> str:
    """A machine that would be adopted is not what was declared."""
    return (
        f"The machine called {name} is not what {host} declares: {odd}. {described(machines)}. It was not taken, and"
        " nothing was bought beside it. Declare what it is, end it, or choose another provision_resource_name."
    )


def bought_by_another(host: str, name: str, offer_id: str, machines: t.Iterable[Machine], *, was_sent: bool) -> str:
    """An offer of the host is bought, and its machine has another name than the host's."""
    sent = " A purchase of ours was sent whose answer never came, so it may be ours nevertheless." if was_sent else ""
    away = "the registry entry" if was_sent else "provision_offer_id"
    return (
        f"Offer {offer_id} of {host} is bought, but no machine of it is called {name}: {described(machines)}.{sent}"
        f" Nothing was bought. If it is this host's, set provision_adopt: true; if it is not, remove {away}."
    )


def wanted_by_another(host: str, offer_id: str, others: t.Iterable[str]) -> str:
    """The very offer that the host wants is another host's."""
    return (
        f"provision_offer_id {offer_id} of {host} is what {', '.join(others)} has or wants, too. A machine belongs to"
        f" one host. {NOTHING_SENT}"
    )


def shared_name(name: str, others: t.Iterable[str]) -> str:
    """Several hosts have or would buy machines of one name."""
    return (
        f"{', '.join(others)} has or would buy a machine called {name}, too. The name must tell whose a machine is:"
        f" give each host a provision_resource_name of its own. {NOTHING_SENT}"
    )


def still_open(host: str, offer_id: str, price: float | None, ids: t.Iterable[str]) -> str:
    """A host that stops, and has an earlier purchase whose answer never came."""
    return f"Offer {offer_id} was sent for {host} before, and no answer came. {may_be_billed(price, ids)}"


def open_by_name(host: str, offer_id: str, price: float | None, ids: t.Iterable[str]) -> str:
    """The same of a host without a registry, in the run that has sent it."""
    return (
        f"{still_open(host, offer_id, price, ids)} Do not buy another offer instead. There is no registry, so a later"
        " run finds what was bought by its name: run again then."
    )


def no_offer_found(text: str) -> str:
    """A search that failed."""
    return f"{text} Nothing was bought."


def no_match(why: str) -> str:
    """Nothing on the market is what a host searches for; ``why`` says where there is something, or none."""
    where = "" if why == "none" else f": {why}"
    return (
        f"No offer matches provision_spec{where}. Ask for less (region, vendor, contract_type, another gpu_type), or"
        " try again later. Nothing was bought."
    )


def no_choice(reasons: t.Iterable[str]) -> str:
    """The same of a host with several searches, each with its reason."""
    return (
        f"None of the searches of provision_spec has an offer for this host. {'; '.join(reasons)}. Nothing was bought."
    )


def looked_for_later(host: str, until: str) -> str:
    """A line for a host that has no offer yet, and for which a later run looks again."""
    return f"{host}: no offer yet, a later run looks again until {until}"


def waits(hosts: t.Sequence[str], since: str, text: str, again: str, until: str) -> str:
    """What is waited for, in a line of the terminal."""
    return f"Since {since} waiting for {len(hosts)} ({some(hosts)}): {text}. Next look {again}, until {until}."


def waited(since: str, text: str) -> str:
    """What was seen while offers were waited for."""
    return f"They were waited for since {since}. Seen: {text}." if text else f"They were waited for since {since}."


def later_choice(host: str, number: int, what: str, reasons: t.Iterable[str]) -> str:
    """Why a host gets something else than what it wants most."""
    return f"{host} gets choice {number} ({what}): {'; '.join(reasons)}."


def none_left(count: int, ceiling: str, cheapest: float | None, tried: int) -> str:
    """Offers match, but none is left for this host within its ``ceiling`` (see `ceiling_of`, `bill_of`)."""
    again = f" after {tried} tried" if tried else ""
    return (
        f"None of the {count} matching offers is left for this host{again} within its {ceiling}. The cheapest costs"
        f" {usd(cheapest)}; hosts of a play never share an offer. Nothing was bought."
    )


def ceiling_of(max_price_per_hour: float) -> str:
    """The ceiling of a host in a sentence."""
    shown = "unlimited" if max_price_per_hour == float("inf") else usd(max_price_per_hour)
    return f"provision_max_price_per_hour ({shown})"


def bill_of(max_bill: float, lease: str, max_price_per_hour: float) -> str:
    """The same where it follows from the whole bill: USD, and the lease as it was given."""
    return f"provision_max_bill (USD {amount(max_bill)} with the lease {lease}, so {usd(round(max_price_per_hour, 6))})"


def above_total(count: Count, max_total_price_per_hour: float, buyers: int, projects: t.Sequence[str] = ()) -> str:
    """The hosts together cost more than was agreed to; ``projects``: those of a shared registry, if it counts them."""
    whose = f"All machines of project {', '.join(projects)}" if projects else "The hosts of this play"
    return (
        f"{whose} would cost {count.told}; provision_max_total_price_per_hour is {usd(max_total_price_per_hour)}."
        f" {count.names} Nothing was bought for the {buyers} host(s) that need a machine."
    )


def unread_total(hosts: t.Iterable[str]) -> str:
    """A ceiling of all hosts, and hosts of other batches that cannot be counted."""
    return (
        "provision_max_total_price_per_hour is for all hosts of the play, but with serial those of other batches"
        f" ({some(hosts)}) cannot be counted without a registry. Leave serial out, or keep a registry. {NOTHING_SENT}"
    )


NOT_ASKED_FOR = "They were not asked for."


def unread_account(text: str) -> str:
    """A ceiling of the account, whose machines cannot be listed."""
    return (
        f"The machines of the account cannot be listed, so whether provision_max_account_price_per_hour holds is not"
        f" known: {text} {NOTHING_SENT} Try again later."
    )


def above_account(count: Count, max_account_price_per_hour: float) -> str:
    """All machines of the account would cost more than was agreed to, whoever has bought them."""
    return (
        f"All machines of the account would cost {count.told}; provision_max_account_price_per_hour is"
        f" {usd(max_account_price_per_hour)}. {count.names} Nothing was bought. compute_index.supply.audit shows what"
        " runs, and whose it is: end what nobody needs, or raise the ceiling."
    )


def no_budget_without_registry() -> str:
    """A budget, and nothing that knows what was spent."""
    return (
        "provision_budget needs a registry (provision_registry_dir or provision_registry_url), which knows what was"
        " spent."
    )


def above_budget(project: str, name: str, budget: float, count: Count) -> str:
    """A month of a project would cost more than was agreed to."""
    spent, runs, planned = (amount(count.sum_of(item).total) for item in (State.SPENT, State.RUNS_ON, State.ORDERED))
    return (
        f"The month {name} of project {project} would cost USD {amount(count.sum.total)}: {spent} spent till now,"
        f" {runs} for what runs and {planned} for what would be bought, until their leases or the month are over."
        f" provision_budget is USD {amount(budget)}. {count.names} Nothing was bought. End what nobody needs, give a"
        " shorter provision_lease, or raise the budget; compute_index.supply.spend shows what was spent."
    )


def unknown_month(project: str, name: str, budget: float, hosts: t.Iterable[str]) -> str:
    """What a month costs cannot be told."""
    return (
        f"What the month {name} of project {project} costs is not known, since price or beginning of"
        f" {', '.join(ranges(hosts))} is not: so provision_budget (USD {amount(budget)}) cannot hold. Nothing was"
        " bought. compute_index.supply.spend shows what is known."
    )


def unread_ledger(text: str) -> str:
    """A budget, and a ledger that cannot be read."""
    return f"What was spent cannot be read, so whether provision_budget holds is not known: {text} {NOTHING_SENT}"


def too_dear(offer_id: str, price: float | None, ceiling: str) -> str:
    """The offer that is wanted by its id is above the ``ceiling`` (see `ceiling_of`, `bill_of`)."""
    return f"Offer {offer_id} costs {usd(price)}, which is not within {ceiling}. Nothing was bought."


def names_taken(host: str, names: t.Iterable[str]) -> str:
    """A cluster's further machines would take over hosts of the inventory."""
    return (
        f"The further machines of {host} would be called {some(names)}, and the inventory has hosts of these names,"
        " which would be taken over. Rename them, or the host."
    )


def all_or_none(hosts: t.Iterable[str]) -> str:
    """Some hosts cannot have what they need, and all or none was asked for."""
    return f"provision_all_or_nothing: nothing was bought, since {some(hosts)} cannot have a machine."


def some(hosts: t.Iterable[str], most: int = 5) -> str:
    """The first of many names."""
    names = list(hosts)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# Hosts whose variables cannot be read

OTHER_REGISTRY_UNREAD = (
    "names another shared registry than the one that was read, and a run reads one. Run this again for that one"
    " (-e provision_registry_url=...)"
)
HOST_DECIDES = (
    "depends on the host's name, so it is not known where hosts that were ordered are remembered. Put them into the"
    " inventory"
)
_SECRET = "provision_registry_url"
# Where ansible-core repeats a template or a line of a file, and what is left of that.
_REPEATED = {
    r"The offending line appears to be:.*": "",
    r"while templating '.*?'\. Error was": "while templating. Error was",
    r"\. String: .*": "",
}


def lease_not_kept(host: str, ids: t.Sequence[str], price: float | None) -> str:
    """A host whose lease is over, and for which Ansible runs nothing."""
    return (
        f"The lease of {host} is over, and {ids_of(ids)} runs on at {usd(price)}: Ansible runs nothing for it until its"
        " file can be read."
    )


def in_several_registries(hosts: t.Sequence[str], nothing: str) -> str:
    """Hosts of no inventory that were named, and that more than one registry knows."""
    return (
        f"Several registries know {some(hosts)}: say which one is meant by -e provision_project=... or"
        f" -e provision_registry_dir=... {nothing}"
    )


def two_of_a_name(host: str) -> str:
    """Two hosts of one name, of different registries, whose leases are over."""
    return f"Two registries have a {host} whose lease is over. One of them was ended; sweep again."


def project_unswept(project: str) -> str:
    """A project of the shared registry that this sweep is not about, and no other enforces."""
    return (
        f"The shared registry has leases of the project {project} that are over, and no sweep enforces them. Sweep it,"
        f" too: -e provision_project={project}."
    )


def unread_of_hosts(hosts: t.Iterable[str], what: str, why: str) -> str:
    """A variable or a file of some hosts that cannot be read. Others go on."""
    return f"{some(hosts)}: {what} {why}."


def ends_the_play(host: str, trouble: str) -> str:
    """A file of a host of this play cannot be read. ``trouble``: which one, and why."""
    return f"{trouble} Ansible ends a play with such a host. Repair it, or add --limit 'all:!{host}'. {NOTHING_SENT}"


def why_unreadable(error: str) -> str:
    """Why a file of variables cannot be read. ``error``: Ansible's, which may repeat lines of it."""
    vaulted = "decrypt" in error.lower() or "vault" in error.lower()
    return f"cannot be read: {'there is no vault password that opens it' if vaulted else 'it is no YAML mapping'}"


def why_unevaluated(name: str, error: str) -> str:
    """Why a variable of a host cannot be evaluated. An error may repeat what was written, and with it a password."""
    if name == _SECRET:
        return "cannot be evaluated"
    for repeated, instead in _REPEATED.items():
        error = re.sub(repeated, instead, error, flags=re.DOTALL)
    # The older versions of ansible-core say everything twice.
    reason = ". ".join(dict.fromkeys(one_line(error).rstrip(".").split(". ")))
    return f"cannot be evaluated: {reason}"


# What will be bought


def plan(offer: Machine, lease: str, bill: float | None) -> str:
    """What a host is about to buy, short enough for a line of the terminal; the quote says more.

    ``lease``: how long, as in ``in 8h``, empty if there is no end; ``bill``: USD in all that time.
    """
    contract = offer.get("contract_type")
    facts = [
        f"{offer.get('gpu_count')} x {offer.get('gpu_type')}",
        usd_short(offer.get("price_per_hour")),
        contract if contract != "ondemand" else "",
        lease and f"{'unknown price' if bill is None else f'USD {amount(round(bill, 2))}'} {lease}",
    ]
    return ", ".join(str(fact) for fact in facts if fact)


def other_half(public: str, private: str) -> str:
    """The machine will let in another key than the one that SSH is told to use."""
    return (
        f"{public}, which the machines will let in, is not the public half of {private}, with which SSH will try to log"
        " in. They belong together unless the user data lets another key in."
    )


def no_ssh(program: str) -> str:
    """There is nothing to log in with."""
    return (
        f"This computer has no {program}, so nobody could log in to the machines that would be bought. Install an SSH"
        " client, or set provision_reach to false."
    )


def no_account(uid: int) -> str:
    """The program ssh does nothing for a user whom the system does not know."""
    return (
        f"This computer has no account for the user {uid} that runs Ansible, and for such a user ssh does nothing, so"
        " nobody could log in to the machines that would be bought. Add a line for it to /etc/passwd, or set"
        " provision_reach to false."
    )


def open_key(private: str) -> str:
    """A private key that ssh ignores."""
    return (
        f"Others can read {private}, so ssh will not use it, nor get into the machines, which are billed nevertheless."
        f" chmod 600 {private}"
    )


def no_agent(private: str) -> str:
    """A private key with a passphrase, and nobody who could say it."""
    return (
        f"{private} has a passphrase, and no ssh-agent knows it (SSH_AUTH_SOCK is not set): by itself ssh will not get"
        " into the machines, which are billed nevertheless. Start an agent, and ssh-add the key."
    )


def locked_out_of(host: str, offer_id: str, price: float | None, ids: t.Iterable[str]) -> str:
    """A host whose machine another run has bought, or is buying, and that this job cannot log in to."""
    return (
        f"Another run buys or has bought the machine of {host}: offer {offer_id} at {usd(price)}, resource ids:"
        f" {ids_of(ids)}. It is billed, and this job has bought nothing."
    )


def locked_out(wanted: str, job_keys: str) -> str:
    """A job of AWX has other keys, as ssh-add shows them, than the one with this fingerprint that is let in."""
    return (
        f"This job cannot log in to the machines that it would buy: they let in the key {wanted}"
        " (provision_ssh_public_key, in the variables of the inventory). Its own keys, says ssh-add:"
        f" {job_keys.rstrip('.')}. Add the machine credential of that pair to the job template, or run"
        " compute_index.supply.awx_setup with awx_update_secrets=true, which hands over both halves."
    )


def few_forks(buyers: int, forks: int) -> str:
    """More hosts buy than can do so at once."""
    return (
        f"{buyers} hosts buy, {forks} at a time: a purchase may take minutes, and offers expire after half an hour. Let"
        f" them all buy at once: --forks {buyers}, or forks in ansible.cfg."
    )


def quoted_until(moment: str) -> str:
    """A line of a quote: when the first of its offers expires."""
    return f"These offers can be bought until {moment}."


def adopted(host: str, machines: t.Sequence[Machine], offer_id: str, *, would: bool) -> str:
    """What the host takes: machines by its name, or else what its purchase without an answer may have bought.

    ``would``: it is not noted now.
    """
    takes = "would take" if would else "takes"
    if not machines:
        return f"{host} {takes} what was bought with its offer {offer_id}, since provision_adopt is set."
    return f"{host} {takes} {described(machines)} by its name."


def drift(host: str, what: str) -> str:
    """What a host owns is not what it declares now. It is told, never repaired by replacing."""
    return f"{host} owns something else than it declares: {what}. It stays as it is."


# Leases


def unswept(swept: str, *, refused: bool) -> str:
    """A lease that nothing enforces: ``swept`` says when the last sweep was, empty if none is known."""
    when = f"it ran last at {swept}" if swept else "no run of it is known"
    return (
        f"A lease ends nothing by itself: compute_index.supply.reap does, and must run at least once an hour; {when}."
        f"{' provision_lease_unswept is refuse.' if refused else ' docs/leases.md says how.'}"
    )


def lease_over(host: str, ended: str) -> str:
    """A machine that runs although its lease is over."""
    return (
        f"The lease of {host} was over at {ended}, and its machine is still billed: compute_index.supply.reap ends it,"
        " compute_index.supply.extend gives it more time."
    )


def unreadable_lease(host: str, why: str) -> str:
    """A registry entry whose end cannot be read, so that nothing ends its machine."""
    return f"The lease of {host} cannot be read, so its machine is never ended by it: {why}."


def unreadable_idle(host: str, why: str) -> str:
    """How long a machine may be idle cannot be read, so that it never ends for it."""
    return f"provision_idle_after of {host} {why}. Its machine is never ended for being idle."


def owns_no_lease(host: str) -> str:
    """More time was asked for a host without a machine."""
    return f"The registry knows no machine of {host}, so there is nothing to extend."


def is_reaped(host: str, since: str) -> str:
    """More time was asked for a machine that a sweep has begun to end."""
    return (
        f"A sweep began to end the machine of {host} at {since}, so it gets no more time. If it is still there in a"
        " quarter of an hour, it may be extended then."
    )


def endless(host: str) -> str:
    """More time was asked for a machine that has no end."""
    return f"The machine of {host} has no lease, so nothing ends it. extend_until=<time> gives it an end."


def in_the_past(host: str, end: str, now: str) -> str:
    """The end that was asked for is over."""
    return f"The machine of {host} cannot be extended until {end}: it is {now} now."


def no_shorter(host: str, end: str, before: str) -> str:
    """The end that was asked for is earlier than the one that it has."""
    return (
        f"The machine of {host} may live until {before} already, which is later than {end}. What shall end earlier is"
        " ended by compute_index.supply.decommission."
    )


def too_long(host: str, end: str, longest: str) -> str:
    """More time than the longest lease."""
    return (
        f"Until {end} the lease of {host} would be longer than provision_lease_max ({longest}), counted from its"
        " purchase. -e provision_lease_max=<duration> allows more."
    )


def too_dear_in_all(host: str, end: str, bill: float | None, most: float) -> str:
    """More time than the largest bill allows."""
    costs = "would cost nobody knows how much" if bill is None else f"would cost up to USD {amount(round(bill, 2))}"
    return (
        f"Until {end} the machine of {host} {costs} in all, and provision_max_bill is USD {amount(most)}."
        " -e provision_max_bill=<USD> allows more."
    )


def lives(host: str, end: str) -> str:
    """A line for a machine that a sweep leaves alone, although it was told to end it."""
    return f"{host} has got more time meanwhile, until {end}; nothing ends"


def lease_over_since(end: str) -> str:
    """Why a machine ends, in a line."""
    return f"its lease was over at {end}"


def in_use_again(host: str, evidence: str) -> str:
    """A line for a machine that was to end for being idle, and is not any more, or has said nothing for a minute."""
    return f"{host} is not known to be idle any more{f' ({evidence})' if evidence else ''}; nothing ends"


def ended_by_another(host: str) -> str:
    """A line for a host whose machine another run has ended."""
    return f"{host}: another run has ended its machine meanwhile; nothing is left to end"


def being_ended(since: str) -> str:
    """Why the API may not know a machine any more."""
    return f"Another run began to end it at {since}, and has not noted its end yet."


MAY_HAVE_ENDED = "Another run may have ended it meanwhile; the next sweep looks again."


def not_looked_after(host: str) -> str:
    """A sweep did not come to the end of its tasks for a host."""
    return f"{host}: its lease is over, and this sweep did not come to its end. Its machine may be billed; sweep again."


def unasked(host: str, text: str) -> str:
    """A machine that may be idle, and that did not answer."""
    why = f": {text}" if text else "."
    return f"{host}: its machine could not be asked whether it is idle, so it goes on, and is billed{why}"


def was_idle(evidence: str) -> str:
    """The same of one that nobody has used."""
    return f"it was idle: {evidence}"


def remembered_elsewhere(place: str, declared_place: str) -> str:
    """The variables of a host lead to another registry than the one in which its machine was found."""
    return (
        f"Its time is over by the registry {place}, but its own variables lead to {declared_place or 'none'}: set"
        " provision_registry_dir and provision_project for all hosts of the registry, also for those that are added."
    )


def waits_for_hook(minutes: float) -> str:
    """The command that is to be run before the end has failed."""
    return (
        f"Its time is over, but reap_before_end failed on it. When it has been over for {minutes:g} minutes, a sweep"
        " ends it in any case."
    )


NO_REGISTRY_TO_EXTEND = (
    "Only a registry keeps the end of a lease, and this host has none (provision_registry_dir is empty)."
)


def clocks_apart(times: t.Mapping[str, str]) -> str:
    """Clocks that differ. ``times``: what each says."""
    message = ", ".join(f"{moment} by {_CLOCKS[name]}" for name, moment in times.items())
    return f"The clocks differ: it is {message}. Leases end by the clock that noted them. Set the one that is wrong."


def clocks_refuse(host: str, apart: str) -> str:
    """A host that buys nothing, since clocks differ."""
    return (
        f"{apart} Until then {host} buys nothing that has a lease, a largest bill or a budget: it could last longer and"
        " cost more than that. Without provision_lease, provision_max_bill and provision_budget it buys."
    )


_CLOCKS = {"here": "this computer", "api": "the API", "database": "the database of the registry"}


# What became of a purchase


def failed(offer_id: str, reason: str | None) -> str:
    """An offer that failed after it was bought."""
    return f"Offer {offer_id} failed: {ended(reason or NO_REASON)}"


def nothing_billed(host: str) -> str:
    """An attempt left nothing."""
    return f"Nothing is billed for {host}."


def billed(price: float | None, ids: t.Iterable[str]) -> str:
    """A purchase that did not become a machine which can be used."""
    return f"The offer is BOUGHT and may be billed at {usd(price)}. Resource ids: {ids_of(ids)}."


def may_be_billed(price: float | None, ids: t.Iterable[str]) -> str:
    """A purchase of which nobody knows the outcome."""
    return f"It MAY BE BOUGHT and billed at {usd(price)}. Resource ids: {ids_of(ids)}."


def unjudged(host: str) -> str:
    """Of a host that buys, where nobody has looked what became of it."""
    return (
        f"Nobody has told {host} what became of its purchase: the first host looks for all, and the role's condition"
        " (when) does not hold any more. What was bought is billed. Run again: nothing is bought twice."
    )


def died(offer_id: str, text: str, price: float | None, ids: t.Iterable[str]) -> str:
    """The task of a purchase ended without a result: it was killed, or its Python broke down."""
    words = " ".join(text.split()).rstrip(".")
    return (
        f"The task that was buying offer {offer_id} ended without a result ({words}), and its purchase may have been"
        f" sent. {may_be_billed(price, ids)} Do not buy another offer instead. Run again: it asks first what became of"
        " this one."
    )


def keep_waiting(retries: int) -> str:
    """A machine that is still being made."""
    return f"It was looked at {retries} times; run again to go on waiting."


def end_first(host: str) -> str:
    """What has failed and is billed, which each run finds again."""
    return (
        f"End it with compute_index.supply.decommission -e decommission_hosts={host}; then run again for another one."
    )


DELETED_AGAIN = "It was deleted again."


def tried(offer_ids: t.Sequence[str]) -> str:
    """The offers of several attempts."""
    return f"Offers tried: {', '.join(offer_ids)}." if len(offer_ids) > 1 else ""


def joined(*sentences: str) -> str:
    """Sentences in a row, without the empty ones."""
    return " ".join(filter(None, (sentence.strip() for sentence in sentences)))


def unnamed(host: str, name: str, kept: t.Sequence[str], *, by_name: bool) -> str:
    """The API called the machine otherwise than it was asked to."""
    memory = (
        "With provision_registry_dir empty NOTHING tells the next run that it exists: it would buy another one."
        if by_name
        else "Only the registry file tells which machine this host owns; keep it."
    )
    return f"The API did not keep a name: {host} is called {', '.join(kept) or 'nothing'} instead of {name}. {memory}"


# What was spent

UPPER_BOUNDS = "Upper bounds in USD, from before each purchase to its confirmed end."
SPEND_NEEDS_REGISTRY = (
    "What was spent is known to a registry only, and none is kept (provision_registry_dir is empty, and there is no"
    " provision_registry_url). Nothing was sent."
)


def has_cost(host: str, dollars: float, hours: float, price: float) -> str:
    """A line at the end of a host's machines."""
    return f"{host} has cost at most USD {amount(dollars)}: {hours:.2f} hours at {usd(price)}."


def unknown_cost(host: str) -> str:
    """The same where price or beginning is not known."""
    return f"What {host} has cost is not known: its price or its beginning is not."


def spend_limited() -> str:
    """A limit does not take part of a ledger away."""
    return "What was spent is told of whole registries: leave --limit out. Nothing was sent."


def project_not_counted(project: str) -> str:
    """Another project of the shared registry, which owns machines."""
    return f"Not counted: the project {project} of the shared registry. -e provision_project={project} counts it."


def no_ledger(hosts: t.Iterable[str]) -> str:
    """Hosts that are not counted."""
    return f"Not counted, since they keep no registry: {some(hosts)}."


def unregistered(host: str, offer_id: str, ids: t.Iterable[str]) -> str:
    """A purchase without an end whose registry entry is gone."""
    return (
        f"The registry has no entry of {host}'s offer {offer_id or 'unknown'} ({ids_of(ids)}) any more, and no end of"
        " it was noted: it counts up to now. Does it still run? If not, add its end to the ledger (docs/spend.md)."
    )


def unpriced(hosts: t.Iterable[str]) -> str:
    """Purchases that are in no sum."""
    return f"In no sum, since price or beginning is unknown: {some(hosts)}."


# Why nothing ends for a host

OTHER_OFFER = "its offer is {offer_id}, not that of the registry"
NOT_NAMED = "it belongs to the host's offer, but the registry does not name it"
STORAGE = "storage, which no machine of a registry has brought along"
ONLY_EXPECTED = "only audit_names names it, no registry"
NAMESAKE = "it has the name of a host whose registry names another machine"
STRANGER = "it is called {name}, and the registry names only its offer"
SEVERAL_HOSTS = "several hosts claim it"
SEVERAL_OFFERS = "several offers have machines of this name"
ONLY_NUMBERED = "only its number tells it from the host's name, and no other machine of its offer is listed"
HAS_TWIN = "without a registry it may as well be that of {twin}"

_BY_ID = "End the right ones by their ids (compute_index.supply.delete_resource)"


def nothing_ended(host: str, why: str) -> str:
    """Any reason."""
    return f"Nothing was ended for {host}. {why}"


def contested(host: str, hosts: t.Iterable[str], machines: t.Sequence[Machine], ids: t.Iterable[str]) -> str:
    """Several hosts say that a machine or an offer is theirs."""
    what = described(machines) if machines else ids_of(ids)
    return nothing_ended(
        host,
        f"{', '.join(sorted({host, *hosts}))}: {SEVERAL_HOSTS}: {what}. A machine belongs to one host: remove the"
        f" registry entry or the name of those that it does not belong to. {_BY_ID}.",
    )


def differs(host: str, offer_id: str, ids: t.Iterable[str], odd: t.Iterable[tuple[Machine, str]]) -> str:
    """Registry and API do not say the same; both are shown."""
    has = "; ".join(f"{described([machine])}: {trouble}" for machine, trouble in odd)
    return nothing_ended(
        host,
        f"Registry and API do not agree. The registry names offer {offer_id or '(none)'} with resources"
        f" {', '.join(ids) or '(none)'}. The API has {has}. {_BY_ID}, or correct the registry, and run again.",
    )


def other_id(host: str, resource_id: str, ids: t.Iterable[str]) -> str:
    """The id that was given is none of those that the registry names."""
    return nothing_ended(
        host,
        f"decommission_resource_id is {resource_id}, but the registry names {ids_of(ids)} for this host. Leave it out"
        " to end what the registry names, or end the other one with compute_index.supply.delete_resource.",
    )


def no_such_machine(host: str, text: str) -> str:
    """The machine that was named by its id is not known to the API."""
    return nothing_ended(host, f"{text} Is the token of the right account?")


def lost(host: str, ids: t.Sequence[str], text: str) -> str:
    """The API does not know what the registry names, which is no proof of an end."""
    return nothing_ended(
        host,
        f"The registry names {ids_of(ids)}, which the API does not know: {text} It may be billed all the same. Is the"
        " token of the right account? If it is gone for certain: compute_index.supply.decommission -e"
        f" decommission_hosts={host} -e decommission_forget={','.join(ids)}.",
    )


def not_lost(host: str, machines: t.Iterable[Machine]) -> str:
    """What was to be forgotten is known to the API."""
    return nothing_ended(
        host,
        f"The API knows {described(machines)}, so it cannot be forgotten. Leave decommission_forget out to end it.",
    )


def cannot_be_read(host: str, text: str) -> str:
    """The API did not say what became of it."""
    return nothing_ended(host, f"{text} Run again.")


def none_yet(host: str, offer_id: str, ids: t.Sequence[str] = ()) -> str:
    """A purchase without a machine so far."""
    known = f" ({ids_of(ids)})" if ids else ""
    return nothing_ended(
        host,
        f"Offer {offer_id} is bought and may be billed{known}, but the API lists no machine of it yet. Run again when"
        " there is one.",
    )


def too_fresh(host: str, offer_id: str, seconds: float) -> str:
    """A purchase that may still arrive."""
    return nothing_ended(
        host,
        f"The API has no machine of offer {offer_id}, but its purchase was noted only a short while ago, and that of a"
        f" run that was stopped may still arrive. Run again in {max(1, math.ceil(seconds / 60))} minutes.",
    )


def owned_by(machine: Machine, hosts: t.Iterable[str]) -> str:
    """A person names a machine by its id that hosts own."""
    names = list(hosts)
    message = f"{described([machine])} is owned by {', '.join(names)}, says the registry. Nothing was ended."
    if any(" " in name for name in names):
        return f"{message} Ask those whose project that is."
    return f"{message} To end it: compute_index.supply.decommission -e decommission_hosts={','.join(names)}."


def may_be_bought_by(machine: Machine, hosts: t.Iterable[str]) -> str:
    """The same of a machine that a host may have bought, of whose purchase no machine is known yet."""
    return (
        f"{described([machine])} may be what {', '.join(hosts)} may just be buying. Nothing was ended. Run"
        " compute_index.supply.audit with audit_settle: true, and then the same again."
    )


def cannot_tell_owner(resource_id: str, why: str) -> str:
    """Registries cannot be read, so nobody knows whether a machine has an owner."""
    return f"Whether a host owns {resource_id} is not known: {why} Nothing was ended."


def unclaimed(host: str, name: str, machines: t.Sequence[Machine]) -> str:
    """The registry has nothing of the host, and a machine that nobody claims has its name."""
    ids = [str(machine["resource_id"]) for machine in machines if machine.get("resource_id")]
    return nothing_ended(
        host,
        f"The registry of {host} names no machine, but there is one called {name} that nobody claims:"
        f" {described(machines)}. On a shared account it may be somebody else's. If it is this host's, end it by its"
        f" id: -e decommission_hosts={host} -e decommission_resource_id={ids[0] if ids else '<id>'}"
        " (or compute_index.supply.delete_resource), or run compute_index.supply.provision with provision_adopt: true.",
    )


def in_doubt(host: str, name: str, machines: t.Iterable[Machine], trouble: str) -> str:
    """Without a registry a name must tell exactly."""
    return nothing_ended(
        host,
        f"For the name {name} the API has {described(machines)}: {trouble}. {_BY_ID}, or name one with -e"
        f" decommission_hosts={host} -e decommission_resource_id=<id>.",
    )


# What ends


def ends(host: str, ids: t.Sequence[str], machines: t.Iterable[Machine], forgotten: str, *, would: bool) -> str:
    """A line for what ends, or would end in check mode."""
    prices = [machine.get("price_per_hour") for machine in machines]
    unknown = prices.count(None)
    also = f" and {unknown} unknown price(s)" if unknown else ""
    saved = usd(sum(price for price in prices if price is not None))
    return f"{host}: {'would end' if would else 'ends'} {ids_of(ids)}, which saves {saved}{also}{forgotten}"


def forgets(ids: t.Sequence[str]) -> str:
    """What a person says is gone, as a part of a line."""
    return f"; forgets {', '.join(ids)}, which the API does not know" if ids else ""


def runs_no_more(host: str, what: str, forgotten: str) -> str:
    """A line for a registry entry that goes, its machines being gone."""
    return f"{host}: nothing runs any more of {what}{forgotten}"


def owns_nothing(host: str) -> str:
    """A line for a host without a machine."""
    return f"{host} owns no machine; there is nothing to end"


def not_over(host: str, texts: t.Iterable[str], left: t.Iterable[str], registry: str) -> str:
    """Not all that was told to end has ended."""
    kept = f"Its entry stays in {registry}." if registry else ""
    return joined(*texts, f"Not known to have ended for {host}: {ids_of(left)}.", kept, "Run again.")


def changed_meanwhile(registry: str) -> str:
    """Another run has written the entry of the host while its machines ended."""
    return f"{registry}: the entry has changed meanwhile, and stays: another run may be buying for it."


def sliced_total(template: str, name: str) -> str:
    """A ceiling for all hosts, in a job that sees only some of them."""
    return (
        f"This job is one of the slices of '{template}', and sees only its own hosts: a ceiling for all of them"
        f" ({name}) would hold for each slice by itself. Let jobs share a registry, or set"
        " Job Slicing of the template to 1."
    )


ANOTHER_REGISTRY = "The hosts of a play share one registry, and these have different values of provision_registry_url."


NO_SHARED_REGISTRY = (
    "No shared registry is named: set provision_registry_url or COMPUTE_INDEX_REGISTRY_URL. Nothing was done."
)


def another_project(host: str, path: str, noted: str, project: str) -> str:
    """A host whose file was written for a host of the same name in another project."""
    return (
        f"{path} was written for {host} of the project {noted or 'default'}, and here provision_project is {project}."
        f" If that host is meant, set provision_project to {noted or 'default'}; else give each project a registry of"
        " its own (provision_registry_dir)."
    )


def not_imported(path: str, offer_id: str) -> str:
    """A host with a shared registry, whose file names a purchase that the registry does not know."""
    return (
        f"{path} names offer {offer_id}, which the shared registry does not know. Nothing was sent. Run"
        " compute_index.supply.registry with the same inventory and variables: it moves what files remember into the"
        " registry, also of hosts that were ordered by number."
    )


def of_no_group(host: str, path: str, project: str) -> str:
    """A file of a host that is not in the inventory, and of another project than all that use the folder."""
    return (
        f"{path} was not moved: {host} is not in the inventory, and the file is of the project {project}. Run this"
        f" again with -e provision_project={project}."
    )


def tables_made(registry: str, made: bool, *, would: bool) -> str:
    """Whether the shared registry has had its tables before."""
    return f"{registry}: the tables {'would be made' if made and would else 'were made' if made else 'are there'}."


def moved(host: str, path: str, offer_id: str | None, counts: bool, *, would: bool) -> str:
    """A file whose entry is in the shared registry now."""
    what = f"offer {offer_id}" if counts else "nothing that was bought"
    return f"{host}: {path} ({what}) {'would be moved' if would else 'was moved'} into it."


def ended_moved(folder: str, count: int, lost: int, *, would: bool) -> str:
    """Purchases of a ledger of files that are in the shared registry's now; ``lost``: those without entry and end."""
    what, verb = ("1 purchase", "was") if count == 1 else (f"{count} purchases", "were")
    why = f"that had ended or lost their entries ({lost})" if lost else "that had ended"
    return f"{folder}: {what} {why} {'would be' if would else verb} noted in it, too."


def moved_to_another(path: str, offer_id: str | None, where: str, other_offer_id: str | None) -> str:
    """A file that says something else of its host than the shared registry."""
    return (
        f"{path} names offer {offer_id}, and {where} names offer {other_offer_id}. A host has one: end the one that is"
        " too many, and remove what names it."
    )


def not_moved(path: str, reason: str) -> str:
    """A file that stays, since the shared registry contradicts it, or cannot be told."""
    return f"{path} was not moved, and stays as it is: {reason}"


def held(host: str, who: str) -> str:
    """Another run is buying for the host at this moment."""
    return f"A run of {who} is buying for {host} at this moment. Wait until it has ended."


def not_noted(host: str, why: str, texts: t.Iterable[str], left: t.Sequence[str]) -> str:
    """The registry could not be brought up to date."""
    state = f"not known to have ended: {ids_of(left)}" if left else "all that was registered has ended"
    return joined(why, *texts, f"Of {host} {state}.")


# Why an audit fails


def audit_contested(rows: t.Sequence[Machine]) -> str:
    """Machines of which nobody can say whose they are."""
    found = "; ".join(f"{row['resource_id']} ({', '.join(row['hosts'])}: {row['trouble']})" for row in rows)
    return (
        f"{len(rows)} machine(s) are contested: {found}. Each belongs to one host: correct the registry entries or"
        " names, or end those that are too many by their ids (compute_index.supply.delete_resource)."
    )


def audit_doubled(rows: t.Sequence[Machine]) -> str:
    """Machines beside those of their hosts."""
    found = "; ".join(f"{row['resource_id']} ({', '.join(row['hosts'])}, {usd(row['price_per_hour'])})" for row in rows)
    return (
        f"{len(rows)} machine(s) have the name of a host that owns another one: {found}. End each that is not needed by"
        " its id (compute_index.supply.delete_resource); if it is another project's, give one of the two a"
        " provision_project."
    )


def audit_orphans(rows: t.Sequence[Machine]) -> str:
    """Machines that are billed for nobody."""
    cost = round(sum(row["price_per_hour"] or 0.0 for row in rows), 6)
    ids = ", ".join(str(row["resource_id"]) for row in rows)
    return (
        f"{len(rows)} machine(s) that nobody claims cost {usd(cost)}: {ids}. End each by its id with"
        " compute_index.supply.delete_resource; or declare a host of its name with provision_adopt: true and run"
        " compute_index.supply.provision, which takes it."
    )


def audit_stuck(rows: t.Sequence[Machine]) -> str:
    """Machines whose end does not come."""
    found = "; ".join(
        f"{row['resource_id']} ({usd(row['price_per_hour'])}, {row['ending_hours']:.1f} h)" for row in rows
    )
    return (
        f"{len(rows)} machine(s) have been ending for more than an hour, and may be billed until they are gone:"
        f" {found}. Ask the API's operator to end them; the playbook decommission then makes sure of it."
    )
