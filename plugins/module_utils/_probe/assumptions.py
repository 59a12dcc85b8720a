# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API really does: from recorded exchanges to a verdict on each assumption of ``docs/api.md``.

Pure: whoever has the exchanges, has the findings.
"""

from __future__ import annotations

import re
import typing as t

from .. import _states
from .._api.client import HOSTS, RESOURCE_ENVELOPES, Json, normalized_id
from .._api.http import Answer
from .._api.market import price_per_hour
from .._api.pages import next_query, why_partial
from .._machine.connection import parse_ssh_command
from .._provision.sealed import OFFER_LIVES
from .._provision.search import unapplied
from .._text import abridged, mapping_of, mappings_in, nodes_of, one_line, plural, seconds_of
from . import purchases
from .exchanges import (
    CATALOGS,
    CONTRADICTED,
    NOT_SEEN,
    Assumption,
    AssumptionFinding,
    Exchange,
    Exchanges,
    NotSeen,
    RuleResult,
    needed,
    stands,
)

SSH_COMMAND = "ssh root@{ip} -p {port}"
_CLOCKS_AGREE = 5  # seconds; an answer takes time, and a Date has no fractions
# Words of procurement_status: those that we take for the API's, and those of another of its pages.
_EXPECTED_WORDS = frozenset({"available", "provisioning_started", "provisioning_in_progress"})
_OTHER_WORDS = frozenset({"pending", "provisioning"})
_PROCUREMENT_WORDS = _EXPECTED_WORDS | _OTHER_WORDS | {"ready", "failed"}
# Words and commands that can tell nothing of whoever has the account
_PLAIN = re.compile(r"[a-z]{1,40}([ _-][a-z]{1,40}){0,5}")
_PLAIN_COMMAND = re.compile(r"ssh( (root@)?\{ip\}| -l ?root| -p ?\{port\}){1,3}")
_RESOURCE_WORDS = frozenset({"running", "provisioning", "deleting", "deleted", "failed", "terminated"})
_STATUS_FIELDS = frozenset(
    {
        *("offer_id", "status", "created_at", "procurement_status", "instances", "resources", "resource_ids"),
        *("failure_reason", "procured_at"),
    }
)
_TEXT, _NUMBER, _TEXT_OR_NULL, _NUMBER_OR_NULL = "text", "number", "text or null", "number or null"
# The fields that the collection lives by; only those without "or null" must be there.
_FORMS: dict[str, dict[str, str]] = {
    "search": {
        **dict.fromkeys(("offer_id", "gpu_type", "vendor", "region", "created_at"), _TEXT),
        **{"gpu_count": _NUMBER, "gpu_price_per_hour": _NUMBER_OR_NULL, "contract_type": _TEXT_OR_NULL},
        **{"expires_at": _TEXT_OR_NULL, "total_price_per_hour": _NUMBER_OR_NULL},
    },
    "offer": {
        **dict.fromkeys(("offer_id", "gpu_type", "vendor", "region", "status", "created_at"), _TEXT),
        **{"gpu_count": _NUMBER, "gpu_price_per_hour": _NUMBER_OR_NULL, "contract_type": _TEXT_OR_NULL},
    },
    "offer_status": {
        **dict.fromkeys(("offer_id", "status", "procurement_status"), _TEXT),
        **{"instances": "list", "failure_reason": _TEXT_OR_NULL, "procured_at": _TEXT_OR_NULL},
    },
    "resource": {
        **dict.fromkeys(("resource_id", "status", "vendor", "created_at"), _TEXT),
        **{"name": _TEXT_OR_NULL, "access": "object or null", "pricing_total_hourly": _NUMBER_OR_NULL},
        **{"offer_history": "list or null", "spec": "object or null", "last_synced_at": _TEXT_OR_NULL},
    },
}
# All others that the API's pages show, or that the collection reads
_OFFER = ("gpu_family", "boot_disk_in_gb", "vcpu_count", "memory_in_gb", "total_price_per_hour", "expires_at")
_FURTHER: dict[str, tuple[str, ...]] = {
    "search": (
        *_OFFER,
        *("vendor_region", "type", "storage_details", "storage_price_per_hour", "deployment_type", "node_count"),
        *("gpus_per_node", "infiniband_bandwidth_gbps", "cluster_storage_gb"),
    ),
    "offer": (*_OFFER, "procured_at"),
    "offer_status": ("created_at", "resource_ids", "resources", "progress", "message", "status_message"),
    "resource": (
        *("resource_type", "vendor_region", "status_message", "linked_resources", "valid_from", "valid_to"),
        "offer_id",
    ),
}


# The same, as the tasks of a purchase have asked for it
_LIVED = {"offer": ["life_offer"], "offer_status": ["life_status"], "resource": ["life_resource"]}


def assumption_findings(exchanges: Exchanges) -> list[AssumptionFinding]:
    """A finding for each assumption, in their order."""
    return [_finding(assumption, exchanges) for assumption in ASSUMPTIONS]


def _finding(assumption: Assumption, exchanges: Exchanges) -> AssumptionFinding:
    try:
        verdict, evidence = assumption.rule(exchanges)
    except NotSeen:
        verdict, evidence = NOT_SEEN, f"needs {assumption.needs}"
    return AssumptionFinding(assumption.id, verdict, one_line(evidence, 200))


# Token, clock, errors


def _wrong_token(exchanges: Exchanges) -> RuleResult:
    """A wrong token gets 401. Source: inferred. If not: 403 is treated the same."""
    answer = needed(exchanges.last("wrong_token"))
    is_refused = answer.status in (401, 403)
    return stands(
        answer.status == 401, _outcome(answer) if is_refused else f"a wrong token is answered with {answer.status}"
    )


def _clock(exchanges: Exchanges) -> RuleResult:
    """Answers have a `Date`, and clocks agree. Source: inferred. If not: if clocks differ by five minutes, nothing with
    an end time or budget is bought, and sweeps fail. Only a `Date` with the API's own JSON counts, plus its `Age`;
    without one this computer's clock counts.
    """
    answered = needed([exchange for exchange in exchanges.exchanges if exchange.status is not None])
    known = [item.ahead for item in answered if item.ahead is not None]
    if not known:
        return stands(False, "no answer has a Date")
    # The quickest answer tells most; half a second is what a Date has lost on average.
    ahead = round(max(known) + 0.5)
    agree = abs(ahead) <= _CLOCKS_AGREE
    apart = f"its clock is {abs(ahead)} s {'ahead' if ahead > 0 else 'behind'}"
    return stands(agree, "the clocks agree" if agree else apart)


def _timestamps(exchanges: Exchanges) -> RuleResult:
    """Times end with `Z`. Source: samples of all pages. If not: offsets are understood; a time without a zone is taken
    as UTC.
    """
    objects = [*exchanges.offers, *exchanges.statuses, *exchanges.machines, *exchanges.resources]
    moments = [item.get("created_at") for item in objects]
    times = [moment for moment in moments if isinstance(moment, str) and seconds_of(moment) is not None]
    forms = needed(set(map(_form_of_time, times)))
    named = {"Z": "a Z", "offset": "an offset", "naive": "no zone"}
    evidence = "they end with " + abridged(named[form] for form in sorted(forms))
    return stands(forms == {"Z"}, evidence)


def _form_of_time(text: str) -> str:
    if text.endswith(("Z", "z")):
        return "Z"
    return "offset" if re.search(r"[+-]\d\d:?\d\d$", text) and "T" in text else "naive"


def _unknown_id(exchanges: Exchanges) -> RuleResult:
    """An unknown id gets 404. Source: inferred. If not: any other error fails, and nothing counts as gone."""
    answers = needed(list(filter(None, map(exchanges.last, ("unknown_offer", "unknown_resource")))))
    return stands(all(answer.status == 404 for answer in answers), abridged(map(_outcome, answers)))


def _error_body(exchanges: Exchanges) -> RuleResult:
    """Errors have a `detail`. Source: get-resource, delete-resource. If not: only the status is reported."""
    errors = needed([exchange for exchange in exchanges.exchanges if exchange.is_error])
    bare = [error for error in errors if not isinstance(error.data, dict) or "detail" not in error.data]
    if bare:
        return stands(False, f"{bare[0].status} without a detail ({bare[0].name})")
    kinds = abridged(_kind(error.data["detail"]) for error in errors)
    return stands(True, f"detail is: {kinds}")


def _busy(exchanges: Exchanges) -> RuleResult:
    """429 and 503 come with `Retry-After`. Source: inferred. If not: reads pause for a growing time."""
    busy = needed([exchange for exchange in exchanges.exchanges if exchange.status in (429, 503)])
    waits = [item.retry_after for item in busy if item.retry_after is not None]
    evidence = f"{plural(len(busy), 'answer')} 429 or 503, {len(waits)} with Retry-After"
    return stands(len(waits) == len(busy), evidence)


def _host(exchanges: Exchanges) -> RuleResult:
    """The API answers at `supply-api.compute-index.com`. Source: get-offers, procure-offer; newer pages:
    `supply-api.compute-desk.com`. If not: if a host is not reached, the message names the other one for `api_url`,
    which is another account for a shared registry.
    """
    # What another server says at the other name is not compared.
    statuses = needed(exchanges.hosts)
    answers = [f"{host} {'no answer' if status is None else status}" for host, status in statuses.items()]
    return stands(statuses[HOSTS[0]] is not None, "without a token: " + ", ".join(answers))


# The market


def _gpus(exchanges: Exchanges) -> RuleResult:
    """`/available_gpus` maps families to names. Source: gpu-selection. If not: `catalog_info` returns what it gets."""
    answer = needed(exchanges.last("gpus"))
    is_map = answer.is_success and isinstance(answer.data, dict)
    if not is_map or not all(isinstance(names, list) for names in answer.fields.values()):
        return stands(False, f"answered {answer.status} with {_kind(answer.data)}")
    return stands(True, f"{len(answer.fields)} families")


def _catalogs(exchanges: Exchanges) -> RuleResult:
    """The catalogues of vendors, regions, contracts and storage are bare lists. Source: inferred. If not:
    `catalog_info` returns what it gets.
    """
    catalogs = needed([answer for answer in map(exchanges.success, CATALOGS) if answer and answer.data is not None])
    wrapped = [answer.name for answer in catalogs if not isinstance(answer.data, list)]
    bare = f"{len(catalogs)} of {len(CATALOGS)} are bare lists"
    return stands(not wrapped, f"in an object: {abridged(wrapped)}" if wrapped else bare)


def _search_envelope(exchanges: Exchanges) -> RuleResult:
    """A search has `offers`, and counts them in `total_count`. Source: get-offers. If not: a bare list is understood;
    without a list the search fails.
    """
    answer = needed(exchanges.success("search"))
    offers, count = answer.fields.get("offers"), answer.fields.get("total_count")
    if not isinstance(offers, list):
        return stands(False, f"no list of offers, but {_kind(answer.data)}")
    return stands(count == len(offers), f"{plural(len(offers), 'offer')}, total_count {count}")


def _filters(exchanges: Exchanges) -> RuleResult:
    """`filters_applied` of a search names all that was asked for, or nothing. Source: get-offers, whose sample is
    empty. If not: a warning names each missing key; offers are compared with the request anyway.
    """
    answer = needed(exchanges.success("search"))
    lost = unapplied(answer.spec or {}, needed(answer.fields.get("filters_applied")))
    return stands(not lost, lost[0] if lost else "it names all that was asked for")


def _sorted(exchanges: Exchanges) -> RuleResult:
    """Offers come cheapest first. Source: offer-lifecycle. If not: they are sorted again."""
    prices = [price for price in map(price_per_hour, exchanges.items("search")) if price is not None]
    needed(len(prices) > 1)
    return stands(prices == sorted(prices), f"{len(prices)} prices, the first {prices[0]:g}, the last {prices[-1]:g}")


def _same_again(exchanges: Exchanges) -> RuleResult:
    """A search that is repeated returns the same offers. Source: inferred; get-offers asks all vendors each time. If
    not: hosts for which a search has too few offers search again; a product that its vendor did not deliver comes last,
    whichever id it has.
    """
    first, again = (needed(exchanges.items(name)) for name in ("search", "without_count"))
    ids = {normalized_id(offer.get("offer_id")) for offer in again}
    same = sum(normalized_id(offer.get("offer_id")) in ids for offer in first)
    return stands(same > 0, f"{same} of {plural(len(first), 'offer')} found again")


def _several_types(exchanges: Exchanges) -> RuleResult:
    """A vertical bar joins several types in a search. Source: yaml-spec. If not: the API's own error is shown."""
    answer = needed(exchanges.last("several_types") or exchanges.last("search"))
    needed("|" in ((answer.spec or {}).get("compute") or {}).get("gpu_type", ""))
    return stands(answer.is_success, _outcome(answer))


def _gpu_count(exchanges: Exchanges) -> RuleResult:
    """A search without `gpu_count` means one GPU. Source: get-offers; yaml-spec calls it required. If not: the API's
    own error is shown.
    """
    answer = needed(exchanges.last("without_count"))
    needed(exchanges.success("search"))  # an error tells something only beside the same search that was understood
    if not answer.is_success:
        needed(answer.status in (400, 422))
        return stands(False, _outcome(answer))
    singles = [offer for offer in exchanges.items("without_count") if (nodes_of(offer) or 1) == 1]
    counts = sorted({str(single["gpu_count"]) for single in singles if single.get("gpu_count") is not None})
    evidence = f"accepted; GPUs of the offers: {abridged(counts)}" if counts else "accepted"
    return stands(counts in ([], ["1"]), evidence)


def _clusters(exchanges: Exchanges) -> RuleResult:
    """A search for machines also finds clusters of them. Source: inferred. If not: `provision_spec` is sent unchanged,
    so you can add what asks for clusters.
    """
    listed = count_of_clusters(exchanges.items("search", "without_count", "eight_gpus"))
    needed(listed or count_of_clusters(exchanges.items("nodes")))
    among = f"{plural(listed, 'cluster')} among the offers"
    return stands(listed > 0, among if listed else "only a search with node_count lists them")


def count_of_clusters(offers: t.Iterable[Json]) -> int:
    """How many of the offers have several machines."""
    return sum((nodes_of(offer) or 1) > 1 for offer in offers)


def _total_price(exchanges: Exchanges) -> RuleResult:
    """Offers have `total_price_per_hour`. Source: get-offers. If not: it is calculated from the price per GPU, their
    number, and storage.
    """
    offers = needed(exchanges.offers)
    has = sum("total_price_per_hour" in offer for offer in offers)
    return stands(has == len(offers), f"{has} of {plural(len(offers), 'offer')} have total_price_per_hour")


def _offer_life(exchanges: Exchanges) -> RuleResult:
    """An offer can be bought for 30 minutes. Source: get-offers, offer-lifecycle, procure-offer. If not: `expires_at`
    counts if given, and the API's 410 decides.
    """
    spans = [[seconds_of(offer.get(name)) for name in ("created_at", "expires_at")] for offer in exchanges.offers]
    lives = needed({round(end - begin) for begin, end in spans if begin is not None and end is not None})
    shortest, longest = min(lives), max(lives)
    return stands(lives == {OFFER_LIVES}, f"{shortest}{f' to {longest}' if longest > shortest else ''} s")


def _no_match(exchanges: Exchanges) -> RuleResult:
    """A search without a match is a success with an empty list. Source: inferred. If not: an error is reported as an
    error.
    """
    answer = needed(exchanges.last("no_match"))
    needed(not exchanges.items("no_match"))
    is_list = isinstance(answer.data, dict) and answer.data.get("offers") == []
    return stands(answer.is_success and is_list, f"{answer.status}, an empty list" if is_list else _outcome(answer))


def _invalid(exchanges: Exchanges) -> RuleResult:
    """An invalid search gets 422. Source: inferred. If not: any other error fails as well."""
    answer = needed(exchanges.last("invalid"))
    return stands(answer.status == 422, _outcome(answer))


def _fresh_price(exchanges: Exchanges) -> RuleResult:
    """An offer's own page has the price of the search. Source: inferred. If not: the higher price counts."""
    for details in exchanges.objects("offer"):
        listed = [offer for offer in exchanges.offers if offer.get("offer_id") == details.get("offer_id")]
        prices = price_per_hour(details), price_per_hour(listed[0]) if listed else None
        if prices[1] is not None:
            return stands(prices[0] == prices[1], f"{_usd(prices[0])} there, {_usd(prices[1])} in the search")
    raise NotSeen


def _usd(price: float | None) -> str:
    return "no price" if price is None else f"USD {price:g}"


# Purchases


def _vocabulary(exchanges: Exchanges) -> RuleResult:
    """`procurement_status` is `available` before a purchase, then `provisioning_started`, `provisioning_in_progress`.
    Source: get-offer-status; its schema says `pending`, `provisioning`. If not: both are understood.
    """
    words = needed((_EXPECTED_WORDS | _OTHER_WORDS).intersection(_procurement_words(exchanges)))
    return stands(words <= _EXPECTED_WORDS, abridged(sorted(words)))


def _odd_words(exchanges: Exchanges) -> RuleResult:
    """`procurement_status` has no other words. Source: get-offer-status. If not: an unknown word means still in
    progress, until the deadline.
    """
    words = needed(_procurement_words(exchanges))
    odd = [word for word in words if word not in _PROCUREMENT_WORDS]
    return stands(not odd, abridged(odd or words))


def _procurement_words(exchanges: Exchanges) -> list[str]:
    return [word for status in exchanges.statuses if (word := _states.word(status.get("procurement_status")))]


def _status_resources(exchanges: Exchanges) -> RuleResult:
    """The status names the machines in `resource_ids`. Source: inferred. If not: `resources` is read as well, else the
    account's list.
    """
    for status in (*exchanges.bought, *exchanges.under_way):
        for name in ("resource_ids", "resources"):
            if isinstance(status.get(name), list) and status[name]:
                has_objects = isinstance(status[name][0], dict)
                evidence = f"{name} has {'objects' if has_objects else 'ids'}"
                return stands(name == "resource_ids" and not has_objects, evidence)
    if exchanges.bought:
        return stands(False, "the status of a bought offer names none")
    needed(any("resource_ids" in item for item in exchanges.objects("offer_status")))
    return stands(True, "resource_ids, empty before the purchase")


def _progress(exchanges: Exchanges) -> RuleResult:
    """The progress text of a status is in `progress`. Source: inferred. If not: `message` and `status_message` are read
    as well; else no progress is shown.
    """
    for status in (*exchanges.under_way, *exchanges.bought):
        texts = [name for name, value in status.items() if name not in _STATUS_FIELDS and isinstance(value, str)]
        telling = [name for name in texts if re.search(r"\d+ ?/ ?\d+", status[name])] or texts
        if telling and _PLAIN.fullmatch(telling[0]):
            return stands(telling[0] == "progress", f"in {telling[0]}")
    raise NotSeen


def _address(exchanges: Exchanges) -> RuleResult:
    """The SSH port is in `ssh_command` and in `access.ssh_port`. Source: get-offer-status, get-resource. If not: either
    is enough.
    """
    instances = [item for status in exchanges.statuses for item in mappings_in(status.get("instances"))]
    reachable = needed([item for item in instances if isinstance(item.get("external_ip"), str)])
    machines = needed([access for access in map(_access, exchanges.machines) if access.get("external_ip")])
    in_command = any(isinstance(instance.get("ssh_command"), str) for instance in reachable)
    in_access = any(isinstance(machine.get("ssh_port"), int) for machine in machines)
    return stands(in_command and in_access, _PLACES[in_command, in_access])


# Where the port is, by whether it is in the command, and beside it
_PLACES = {
    (True, True): "in ssh_command and in access.ssh_port",
    (True, False): "only in ssh_command",
    (False, True): "only in access",
    (False, False): "in neither",
}


def _access(resource: Json) -> t.Mapping[str, t.Any]:
    return mapping_of(resource.get("access"))


def _ssh_command(exchanges: Exchanges) -> RuleResult:
    """A machine's SSH command is `ssh root@<address> -p <port>`. Source: offer-lifecycle shows it without a port. If
    not: options are understood in any order; without a port, that of `access` is used, else 22.
    """
    instances = (item for status in exchanges.statuses for item in mappings_in(status.get("instances")))
    commands = [instance.get("ssh_command") for instance in instances]
    # Where there are no instances, the resource's own may lack the port.
    for command in commands or [mapping_of(machine.get("access")).get("ssh_command") for machine in exchanges.machines]:
        target = parse_ssh_command(command)
        if target.host is None:
            continue
        form = str(command).replace(target.host, "{ip}")
        if target.port is not None:
            form = re.sub(rf"(?<!\d){target.port}(?!\d)", "{port}", form)
        if not _PLAIN_COMMAND.fullmatch(form):
            return stands(False, "a form of its own")
        return stands(form == SSH_COMMAND, form)
    raise NotSeen


# Machines


def _list_bare(exchanges: Exchanges) -> RuleResult:
    """`/resources` is a bare list. Source: inferred. If not: it is also read from `resources`, `items`, `data` or
    `results`.
    """
    answer = needed(exchanges.success("resources"))
    if isinstance(answer.data, list):
        return stands(True, f"a bare list of {len(answer.data)}")
    is_known = any(isinstance(answer.fields.get(name), list) for name in RESOURCE_ENVELOPES)
    form = "an object with" if is_known else "no list that the collection knows:"
    return stands(False, f"{form} {abridged(answer.fields) or _kind(answer.data)}")


def _list_complete(exchanges: Exchanges) -> RuleResult:
    """`/resources` is complete in one answer. Source: inferred; no page shows paging. If not: pages are read until two
    readings agree; a list that may be incomplete is an error.
    """
    answer = needed(exchanges.success("resources"))
    needed(isinstance(answer.data, (list, dict)))
    if isinstance(answer.data, list):
        return stands(True, f"{len(answer.data)} at once")
    size = len(answer.items)
    told = Answer(200, True, answer.data)
    if next_query(told) or why_partial(told, size, size):
        count, link = answer.data.get("total_count"), "a" if "next" in answer.data else "no"
        return stands(False, f"{size} of {'more' if count is None else count}, {link} link to the next page")
    if "next" in answer.data or "total_count" in answer.data:
        return NOT_SEEN, f"{size} on one page, which may be one of several"
    return stands(True, f"{size} at once")


def _list_filter(exchanges: Exchanges) -> RuleResult:
    """`offer_id` of `/resources` leaves out the machines of other offers. Source: offer-lifecycle. If not: each
    machine's own offer is compared; a filter alone ends nothing.
    """
    answer = needed(exchanges.success("resources_of_offer"))
    needed(exchanges.resources)  # without any machine nothing can be left out
    return stands(not answer.items, f"{plural(len(answer.items), 'machine')} for an offer that was not bought")


def _names(exchanges: Exchanges) -> RuleResult:
    """A machine gets the requested name. Source: procure-offer, prose only. If not: a warning; with a registry ids are
    the identity, without one the machine is not found again.
    """
    listed = [machine for answer in exchanges.all("life_list") for machine in answer.items]
    machines = (*listed, *exchanges.resources)
    names = {normalized_id(item.get("resource_id")): item.get("name") for item in machines}
    pairs = needed([(wish, names[key]) for key, wish in exchanges.wished.items() if key in names])
    # With a number behind it or without
    kept = sum(name == wish or str(name).startswith(f"{wish}-") for wish, name in pairs)
    evidence = f"{kept} of {plural(len(pairs), 'machine')} have the name that was asked for"
    return stands(kept == len(pairs), evidence)


def _history(exchanges: Exchanges) -> RuleResult:
    """A machine's `offer_history` names the offer it was bought with, with the role `primary`. Source: inferred;
    get-resource has the field `role`. If not: if a machine names several offers and not exactly one as `primary`, its
    offer is unknown.
    """
    entries = [entry for machine in needed(exchanges.machines) for entry in mappings_in(machine.get("offer_history"))]
    roles = [_states.word(entry.get("role")) or "none" for entry in entries if normalized_id(entry.get("offer_id"))]
    if not roles:
        return stands(False, "offer_history names no offer")
    return stands("primary" in roles, f"role: {abridged(roles)}")


def _spec_known(exchanges: Exchanges) -> RuleResult:
    """A machine's `spec` describes it. Source: inferred; the sample is empty. If not: the inventory has fewer groups,
    and `provision_adopt` compares less.
    """
    specs = needed([machine["spec"] for machine in exchanges.machines if isinstance(machine.get("spec"), dict)])
    fields = list(dict.fromkeys(name for spec in specs for name in spec))
    return stands(bool(fields), f"spec has {abridged(fields)}" if fields else "spec is empty")


def _sync(exchanges: Exchanges) -> RuleResult:
    """A machine's data is up to 30 s old, except with `force_refresh`. Source: get-resource. If not: nothing: important
    reads ask the vendor.
    """
    fresh, plain = (needed(seconds_of(look.get("last_synced_at"))) for look in _two_looks(exchanges))
    if plain == fresh:
        return stands(True, "a second look is a repetition of the first")
    if plain > fresh:
        return stands(False, "each look is a new one")
    return stands(False, "force_refresh shows something newer than the look after it")


def _two_looks(exchanges: Exchanges) -> tuple[Json, Json]:
    """A machine as it was seen by force_refresh, and in the look after that; empty where there are no such looks."""
    fresh, plain = (exchanges.objects(name) for name in ("fresh_resource", "resource"))
    looks = [item for item in exchanges.all("life_resource") if item.fields]
    lived = [(one.fields, two.fields) for one, two in zip(looks, looks[1:]) if one.query and not two.query]
    return next(iter([*zip(fresh, plain), *lived]), ({}, {}))


def _resource_words(exchanges: Exchanges) -> RuleResult:
    """A machine's states are known words. Source: delete-resource (`deleting`, `deleted`); others inferred. If not: an
    unknown word means live and billed.
    """
    statuses = [resource.get("status") for resource in (*exchanges.resources, *exchanges.machines)]
    words = needed(list(filter(None, map(_states.word, statuses))))
    odd = [word for word in words if word not in _RESOURCE_WORDS]
    return stands(not odd, f"unknown: {abridged(odd)}" if odd else abridged(words))


def _deleted_listed(exchanges: Exchanges) -> RuleResult:
    """A deleted machine is not listed. Source: inferred. If not: it does not count as live."""
    listed = [resource for resource in exchanges.resources if _states.is_gone(_states.word(resource.get("status")))]
    if listed:
        return stands(False, f"{len(listed)} of them listed")
    needed(exchanges.ended)
    needed(_list_complete(exchanges)[0] != CONTRADICTED)  # the next page might have it
    return stands(True, "one that ended is not listed")


def _deleted_readable(exchanges: Exchanges) -> RuleResult:
    """A deleted machine can be read, as `deleted`. Source: delete-resource, implied. If not: a 404 counts as the end
    only after the API accepted the deletion.
    """
    answer = needed(exchanges.last("ended"))
    word = _states.word(answer.data.get("status")) if isinstance(answer.data, dict) else None
    if answer.status == 404:
        return stands(False, _outcome(answer))
    return stands(answer.is_success and _states.is_gone(word), f"{answer.status}, {word or _kind(answer.data)}")


# Forms


def _kind(value: t.Any) -> str:
    """What a value of JSON is, for people."""
    if isinstance(value, bool):
        return "yes or no"
    kinds: list[tuple[t.Any, str]] = [(str, _TEXT), ((int, float), _NUMBER), (list, "list"), (dict, "object")]
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _outcome(answer: Exchange) -> str:
    """An answer in a few words."""
    if answer.is_success:
        offers = answer.data.get("offers") if isinstance(answer.data, dict) else None
        what = plural(len(offers), "offer") if isinstance(offers, list) else _kind(answer.data)
        return f"{answer.status}, {what}"
    return f"{answer.status}{': ' + answer.detail if answer.detail else ''}"


def _fields(exchanges: Exchanges) -> RuleResult:
    """Answers have the documented fields, with these types. Source: get-offers, get-offer-details, get-offer-status,
    get-resource. If not: a missing field or one with another type is unknown; an unknown price never passes a ceiling.
    """
    described = needed(list(_described(exchanges)))
    fields = [(key, form, item) for name, item in described for key, form in _FORMS[name].items()]
    wrong = [(key, item) for key, form, item in fields if _kind(item.get(key)) not in form.split(" or ")]
    evidence = [f"{key} is {_kind(item[key]) if key in item else 'missing'}" for key, item in wrong]
    return stands(not wrong, abridged(evidence) if wrong else f"as expected in {plural(len(described), 'answer')}")


def _more_fields(exchanges: Exchanges) -> RuleResult:
    """Answers have only documented fields. Source: the same pages. If not: results include them, except fields that may
    repeat user data.
    """
    described = needed(list(_described(exchanges)))
    more = [(key, item[key]) for name, item in described for key in item if key not in (*_FORMS[name], *_FURTHER[name])]
    # A name that is no word of the API's might be one of the account's.
    named = [f"{key} ({_kind(value)})" if _PLAIN.fullmatch(key) else f"a {_kind(value)}" for key, value in more]
    return stands(not more, abridged(named) if more else f"none in {plural(len(described), 'answer')}")


def _described(exchanges: Exchanges) -> t.Iterator[tuple[str, Json]]:
    """The objects whose fields are on the API's pages, by the names of their exchanges."""
    for name in _FORMS:
        objects = exchanges.objects(name, *_LIVED[name]) if name in _LIVED else exchanges.items(name)[:1]
        yield from ((name, item) for item in objects)


ASSUMPTIONS: tuple[Assumption, ...] = (
    Assumption("host", _host, "an api_url of the API's pages", "Set `api_url` to the host that answers."),
    Assumption("wrong-token", _wrong_token, "a request with a wrong token"),
    Assumption("clock", _clock, to_do="Set this computer's clock, if it is the one that is wrong."),
    Assumption("timestamps", _timestamps, "an offer or a machine"),
    Assumption("unknown-id", _unknown_id),
    Assumption("error-body", _error_body),
    Assumption("busy", _busy, "an answer 429 or 503"),
    Assumption("fields", _fields),
    Assumption("more-fields", _more_fields),
    Assumption("gpus", _gpus),
    Assumption("catalogs", _catalogs),
    Assumption("search", _search_envelope),
    Assumption("filters", _filters, "a search that is answered with filters"),
    Assumption("search-order", _sorted, "two offers with a price"),
    Assumption(
        "search-again",
        _same_again,
        "two searches that find offers",
        "With `provision_all_or_nothing`, ask for few machines: a search is sent once.",
    ),
    Assumption(
        "search-types", _several_types, "a catalogue of several families", "Give a list of searches, each for one type."
    ),
    Assumption("search-count", _gpu_count, "a search that is understood", "Give `gpu_count` in each `provision_spec`."),
    Assumption("search-clusters", _clusters, "a cluster on the market"),
    Assumption("search-no-match", _no_match, "a search that matches nothing"),
    Assumption("search-invalid", _invalid),
    Assumption("offer-life", _offer_life, "an offer"),
    Assumption("total-price", _total_price, "an offer"),
    Assumption("offer-price", _fresh_price, "an offer"),
    Assumption("vocabulary", _vocabulary, "an offer"),
    Assumption("odd-words", _odd_words, "an offer"),
    Assumption("status-ids", _status_resources, "an offer that was bought"),
    Assumption("progress", _progress, "a machine that is on its way"),
    Assumption("ssh-port", _address, "a running machine"),
    Assumption("ssh-command", _ssh_command, "a running machine"),
    Assumption("list-bare", _list_bare),
    Assumption("list-pages", _list_complete),
    Assumption("list-filter", _list_filter, "a machine, and an offer"),
    Assumption("names", _names, "a machine that a registry knows", purchases.KEEP_A_REGISTRY),
    Assumption("states", _resource_words, "a machine"),
    Assumption("history", _history, "a machine"),
    Assumption("spec", _spec_known, "a machine"),
    Assumption("sync", _sync, "a running machine"),
    Assumption("deleted-listed", _deleted_listed, "a machine that a registry saw end"),
    Assumption("deleted-read", _deleted_readable, "a machine that a registry saw end"),
    *purchases.ASSUMPTIONS,
)
