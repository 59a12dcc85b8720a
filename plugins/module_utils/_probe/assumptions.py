# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares recorded exchanges with our assumptions about the API (``docs/api.md``), and gives a verdict on each.

An assumption is a row of the table `ASSUMPTIONS`. Its rule yields observations, each with whether it is as assumed.
Pure: the findings depend only on the exchanges.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .. import _states
from .._api.client import HOSTS, RESOURCE_ENVELOPES, Json, find_list, next_query, normalized_id, why_partial
from .._api.http import Answer
from .._api.market import price_per_hour
from .._machine.connection import parse_ssh_command
from .._provision.sealed import OFFER_LIVES
from .._provision.search import unapplied_keys
from .._spec import DELETE_RESOURCE, PROCURE_OFFER
from .._text import abridged, first_timestamp, mapping_of, mappings_in, nodes_of, one_line, plural, seconds_of
from .exchanges import CATALOGS, Exchange, Exchanges

VERDICTS = CONFIRMED, CONTRADICTED, NOT_SEEN = "confirmed", "contradicted", "not seen"
LONGEST_ANSWER = PROCURE_OFFER["procure_timeout"]["default"]  # seconds
LONGEST_BOOT = 300  # seconds from the purchase to a machine that is ready
LONGEST_DELAY = 60  # seconds from there until it accepts a login
LONGEST_END = DELETE_RESOURCE["wait_timeout"]["default"]
SSH_COMMAND = "ssh root@{ip} -p {port}"
AT_ONCE = "at the first look"
_CLOCKS_AGREE = 5  # seconds; an answer takes time, and a Date has no fractions
_SLOW = 2.0  # seconds of a purchase that lasts long enough to show when it happened
_ROUNDED = 0.002  # seconds; a recording has milliseconds
# Words of procurement_status: those that we expect, and with those of another page of the API
_EXPECTED_WORDS = frozenset({"available", "provisioning_started", "provisioning_in_progress"})
_BOTH = _EXPECTED_WORDS | {"pending", "provisioning"}
_RESOURCE_WORDS = frozenset({"running", "provisioning", "deleting", "deleted", "failed", "terminated"})
# Words and commands that do not identify an account
_PLAIN = re.compile(r"[a-z]{1,40}([ _-][a-z]{1,40}){0,5}")
_PLAIN_COMMAND = re.compile(r"ssh( (root@)?\{ip\}| -l ?root| -p ?\{port\}){1,3}")
_TEXT, _NUMBER, _TEXT_OR_NULL, _NUMBER_OR_NULL = "text", "number", "text or null", "number or null"
# The fields that the collection depends on; those without "or null" are required.
_PRICED = {"gpu_count": _NUMBER, "gpu_price_per_hour": _NUMBER_OR_NULL, "contract_type": _TEXT_OR_NULL}
FORMS: dict[str, dict[str, str]] = {
    "search": {
        **dict.fromkeys(("offer_id", "gpu_type", "vendor", "region", "created_at"), _TEXT),
        **{**_PRICED, "expires_at": _TEXT_OR_NULL, "total_price_per_hour": _NUMBER_OR_NULL},
    },
    "offer": {
        **dict.fromkeys(("offer_id", "gpu_type", "vendor", "region", "status", "created_at"), _TEXT),
        **_PRICED,
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
# All other fields that the API's pages show, or that the collection reads
_OFFER = ("gpu_family", "boot_disk_in_gb", "vcpu_count", "memory_in_gb", "total_price_per_hour", "expires_at")
FURTHER: dict[str, tuple[str, ...]] = {
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

Observations = t.Iterable[tuple[object, object]]  # whether it is as assumed (truthy), and the evidence for people


@dataclass(frozen=True)
class Assumption:
    """A line of ``docs/api.md``: its id there, the rule that observes it, and what the rule ``needs``."""

    id: str
    rule: t.Callable[[Exchanges], Observations]
    needs: str = "the API's answer"


@dataclass(frozen=True)
class AssumptionFinding:
    """The verdict on an assumption."""

    id: str
    verdict: str
    evidence: str


def assumption_findings(exchanges: Exchanges) -> list[AssumptionFinding]:
    """A finding for each assumption, in the order of `ASSUMPTIONS`. One wrong observation contradicts an assumption."""
    result = []
    for assumption in ASSUMPTIONS:
        observations = list(assumption.rule(exchanges))
        right, wrong = ([what for is_right, what in observations if bool(is_right) is side] for side in (True, False))
        verdict = CONTRADICTED if wrong else CONFIRMED if right else NOT_SEEN
        evidence = one_line(abridged(map(str, wrong or right)), 200) or f"needs {assumption.needs}"
        result.append(AssumptionFinding(assumption.id, verdict, evidence))
    return result


# Common parts of rules


def _among(found: t.Iterable[t.Any], expected: t.Collection[t.Any]) -> Observations:
    """Observe that each value that was found is one of the expected ones."""
    return [(item in expected, item) for item in found if item is not None]


def _statuses(*names: str, expected: int) -> t.Callable[[Exchanges], Observations]:
    """The rule that exchanges with these names are answered with the expected status."""
    return lambda seen: _among([answer.status for answer in seen.all(*names)], {expected})


def _kind(value: t.Any) -> str:
    """The type of a JSON value, for people."""
    if isinstance(value, bool):
        return "yes or no"
    kinds: list[tuple[t.Any, str]] = [(str, _TEXT), ((int, float), _NUMBER), (list, "list"), (dict, "object")]
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _words(field: str, items: t.Iterable[Json]) -> list[str]:
    """The words in this field of the items."""
    return list(map(_plain, filter(None, (_states.word(item.get(field)) for item in items))))


def _plain(word: str) -> str:
    """The word, unless it does not look like one of the API's: then it might identify an account."""
    return word if _PLAIN.fullmatch(word) else "an unusual word"


def _figure(value: t.Any) -> object:
    """The value if it is a number, else its type."""
    return value if _kind(value) == _NUMBER else _kind(value)


# Token, clock, errors


def _host(seen: Exchanges) -> Observations:
    # The answers of the other hosts are shown, but not compared.
    answers = [f"{host} {'no answer' if status is None else status}" for host, status in seen.hosts.items()]
    return [(seen.hosts[HOSTS[0]] is not None, ", ".join(answers))] if answers else []


def _clock(seen: Exchanges) -> Observations:
    known = [exchange.ahead for exchange in seen.exchanges if exchange.ahead is not None]
    if not known:
        return [(False, "no answer has a Date") for exchange in seen.exchanges[:1] if exchange.status]
    # The quickest answer is the most precise one. A Date lacks fractions, half a second on average.
    ahead = round(max(known) + 0.5)
    return [(abs(ahead) <= _CLOCKS_AGREE, f"{ahead} s ahead")]


def _timestamps(seen: Exchanges) -> Observations:
    items = (*seen.offers, *seen.statuses, *seen.machines, *seen.items("resources"))
    times = [str(item["created_at"]) for item in items if seconds_of(item.get("created_at")) is not None]
    forms = [re.search(r"([Zz])$|T.*[+-]\d\d:?\d\d$", text) for text in times]
    return _among(["no zone" if not form else "Z" if form[1] else "an offset" for form in forms], {"Z"})


def _error_body(seen: Exchanges) -> Observations:
    for answer in seen.exchanges:
        if answer.status and 400 <= answer.status < 500:
            body = mapping_of(answer.data)
            yield "detail" in body, _kind(body["detail"]) if "detail" in body else f"none ({answer.name})"


def _described(seen: Exchanges) -> t.Iterator[tuple[str, Json]]:
    """Objects whose fields the API's pages document, with the names of their exchanges."""
    for name in FORMS:
        objects = seen.items(name)[:1] or seen.objects(name, f"life_{name.removeprefix('offer_')}")
        yield from ((name, item) for item in objects)


def _fields(seen: Exchanges) -> Observations:
    for name, item in _described(seen):
        kinds = {key: _kind(item.get(key)) for key in FORMS[name]}
        wrong = [f"{key} is {kind}" for key, kind in kinds.items() if kind not in FORMS[name][key].split(" or ")]
        yield not wrong, abridged(wrong) or "as documented"


def _more_fields(seen: Exchanges) -> Observations:
    for name, item in _described(seen):
        more = [_plain(key) for key in item if key not in (*FORMS[name], *FURTHER[name])]
        yield not more, abridged(more) or "none"


# The market


def _gpus(seen: Exchanges) -> Observations:
    answers = [list(map(_kind, answer.fields.values())) or ["no object"] for answer in seen.all("gpus")]
    return _among([kind for kinds in answers for kind in kinds], {"list"})


def _envelope(seen: Exchanges) -> Observations:
    for answer in seen.successes("search"):
        offers, count = answer.fields.get("offers"), answer.fields.get("total_count")
        size = len(offers) if isinstance(offers, list) else "no list of"
        yield size == count, f"{size} offers, total_count {_figure(count)}"


def _filters(seen: Exchanges) -> Observations:
    for answer in seen.successes("search"):
        if filters := answer.fields.get("filters_applied"):
            lost = unapplied_keys(answer.spec or {}, filters)
            yield not lost, next(iter(lost), "it names everything that was requested")


def _sorted(seen: Exchanges) -> Observations:
    prices = [price for price in map(price_per_hour, seen.items("search")) if price is not None]
    return [(prices == sorted(prices), f"{prices[0]:g} first, {prices[-1]:g} last")] if len(prices) > 1 else []


def _offer_id(offer: Json) -> str | None:
    return normalized_id(offer.get("offer_id"))


def _same_again(seen: Exchanges) -> Observations:
    first, again = (set(filter(None, map(_offer_id, seen.items(name)))) for name in ("search", "without_count"))
    same = len(first & again)
    return [(same, f"{same} of {plural(len(first), 'offer')} found again")] if first and again else []


def _is_cluster(offer: Json) -> bool:
    return (nodes_of(offer) or 1) > 1


def _gpu_count(seen: Exchanges) -> Observations:
    # An error is informative only if the search with gpu_count has succeeded.
    answers = seen.all("without_count") if seen.successes("search") else []
    for answer in (answer for answer in answers if answer.is_success or answer.status in (400, 422)):
        yield answer.is_success, f"answered with {answer.status}"
        counts = [offer["gpu_count"] for offer in answer.items if "gpu_count" in offer and not _is_cluster(offer)]
        yield from ((count == 1, f"{_figure(count)} GPUs") for count in counts)


def _clusters(seen: Exchanges) -> Observations:
    if any(map(_is_cluster, seen.items("search", "without_count", "eight_gpus"))):
        yield True, "among the offers"
    elif any(map(_is_cluster, seen.items("nodes"))):
        yield False, "only if node_count is asked for"


def _no_match(seen: Exchanges) -> Observations:
    answers = [answer for answer in seen.all("no_match") if not answer.items]
    return [(answer.fields.get("offers") == [], f"{answer.status}, {_kind(answer.data)}") for answer in answers]


def _offer_life(seen: Exchanges) -> Observations:
    spans = [[seconds_of(offer.get(name)) for name in ("created_at", "expires_at")] for offer in seen.offers]
    lives = [round(end - begin) for begin, end in spans if begin is not None and end is not None]
    return [(life == OFFER_LIVES, f"{life} s") for life in lives]


def _fresh_price(seen: Exchanges) -> Observations:
    listed = {_offer_id(offer): price_per_hour(offer) for offer in seen.offers if _offer_id(offer)}
    pairs = [(price_per_hour(offer), listed.get(_offer_id(offer))) for offer in seen.objects("offer")]
    return [(fresh == price, f"{fresh} there, {price} in the search") for fresh, price in pairs if price is not None]


# Purchases and machines


def _status_ids(seen: Exchanges) -> Observations:
    for status in seen.statuses:
        if _states.word(status.get("procurement_status")) == "ready":
            lists = ((name, status.get(name)) for name in ("resource_ids", "resources"))
            found = [f"{name}: {_kind(item[0])}" for name, item in lists if isinstance(item, list) and item] or ["none"]
            yield found[0] == f"resource_ids: {_TEXT}", found[0]


def _progress(seen: Exchanges) -> Observations:
    known = (*FORMS["offer_status"], "created_at")
    texts = [key for item in seen.statuses for key in item if key not in known and isinstance(item[key], str)]
    return [("progress" in texts, "progress" if "progress" in texts else _plain(texts[0]))] if texts else []


def _reachable(items: t.Iterable[Json]) -> list[Json]:
    return [item for item in items if item.get("external_ip")]


def _port(seen: Exchanges) -> Observations:
    instances = _reachable(seen.instances)
    machines = _reachable(mappings_in([machine.get("access") for machine in seen.machines]))
    places = {
        "in ssh_command": any(isinstance(item.get("ssh_command"), str) for item in instances),
        "in access.ssh_port": any(isinstance(item.get("ssh_port"), int) for item in machines),
    }
    is_known = instances and machines
    return [(has_port, place if has_port else f"not {place}") for place, has_port in places.items() if is_known]


def _ssh_command(seen: Exchanges) -> Observations:
    # A resource's own command may lack the port, so instances come first.
    parts = seen.instances or mappings_in([machine.get("access") for machine in seen.machines])
    for command in (part.get("ssh_command") for part in parts):
        target = parse_ssh_command(command)
        if target.host is not None:
            form = str(command).replace(target.host, "{ip}")
            form = form if target.port is None else re.sub(rf"(?<!\d){target.port}(?!\d)", "{port}", form)
            yield form == SSH_COMMAND, form if _PLAIN_COMMAND.fullmatch(form) else "an unusual form"


def _list_bare(seen: Exchanges) -> Observations:
    for answer in seen.successes("resources"):
        name = next((name for name in RESOURCE_ENVELOPES if find_list(answer.data, (name,)) is not None), "no list")
        yield isinstance(answer.data, list), "list" if isinstance(answer.data, list) else name


def _list_complete(seen: Exchanges) -> Observations:
    for answer in seen.successes("resources"):
        size, said = len(answer.items), Answer(200, True, answer.data)
        is_part = bool(next_query(said) or why_partial(said, size, size))
        # An answer with fields for pages may be the only page or the last one.
        if is_part or not answer.fields.keys() & {"next", "total_count"}:
            yield not is_part, f"{size} at once"


def _list_filter(seen: Exchanges) -> Observations:
    for answer in seen.successes("resources_of_offer") if seen.items("resources") else ():
        yield not answer.items, f"{len(answer.items)} for an offer that was not bought"


def _names(seen: Exchanges) -> Observations:
    names = {normalized_id(item.get("resource_id")): item.get("name") for item in seen.items("life_list", "resources")}
    for key, requested in seen.requested_names.items():
        if key in names:
            name = str(names[key])
            is_kept = name == requested or name.startswith(f"{requested}-")  # perhaps with a number
            yield is_kept, "as requested" if is_kept else "another name"


def _history(seen: Exchanges) -> Observations:
    for machine in seen.machines:
        entries = [item for item in mappings_in(machine.get("offer_history")) if normalized_id(item.get("offer_id"))]
        roles = _words("role", entries) or ["no role" if entries else "no offer"]
        yield "primary" in roles, "primary" if "primary" in roles else roles[0]


def _spec(seen: Exchanges) -> Observations:
    specs = (machine.get("spec") for machine in seen.machines)
    return [(spec, plural(len(spec), "field")) for spec in specs if isinstance(spec, dict)]


def _sync(seen: Exchanges) -> Observations:
    """Compare a machine that was read with force_refresh with the next answer about it without."""
    looks = [item for item in seen.all("life_resource") if item.fields]
    lived = [(one.fields, two.fields) for one, two in zip(looks, looks[1:]) if one.query and not two.query]
    pairs = [*zip(seen.objects("fresh_resource"), seen.objects("resource")), *lived][:1]
    times = [[seconds_of(look.get("last_synced_at")) for look in pair] for pair in pairs]
    words = {True: "the second answer repeats the first", False: "each answer is new"}
    return [(fresh == plain, words[fresh == plain]) for fresh, plain in times if None not in (fresh, plain)]


def _deleted_listed(seen: Exchanges) -> Observations:
    listed = sum(map(_states.is_gone, _words("status", seen.items("resources"))))
    is_whole = all(is_complete for is_complete, _size in _list_complete(seen))  # else the next page might have it
    return [(not listed, f"{listed} of them listed")] if listed or (seen.ended and is_whole) else []


def _answered(name: str, is_right: t.Callable[[str], bool]) -> t.Callable[[Exchanges], Observations]:
    """The rule that the ``status`` in the answers to exchanges with this name is right."""

    def rule(seen: Exchanges) -> Observations:
        for answer in seen.all(name):
            words = _words("status", [answer.fields])
            yield any(map(is_right, words)), (*words, answer.status)[0]

    return rule


# Rules that need a purchase


def _made(seen: Exchanges) -> list[Exchange]:
    """The accepted purchase, if there is one."""
    last = seen.all("purchase")[-1:]
    return [item for item in last if item.fields and _states.word(item.fields.get("status")) != "failed"]


def _since(seen: Exchanges, name: str, moment: float) -> list[Exchange]:
    """The answered exchanges with this name that began at the ``moment`` (seconds since the epoch) or later."""
    return [item for item in seen.all(name) if item.at >= moment - _ROUNDED]


def _within(
    most: float, looks: t.Sequence[Exchange], reached: t.Callable[[Exchange], bool], begin: float
) -> Observations:
    """Observe that a look ``reached`` a state at most ``most`` seconds after ``begin`` (seconds since the epoch)."""
    number = next((place for place, look in enumerate(looks) if reached(look)), None)
    if number is None:
        return [(False, f"not within {look.at - begin:.0f} s") for look in looks[-1:]]
    seconds = looks[number].at - begin
    # A state that the first look shows may be much older.
    return [(seconds <= most, f"{seconds:.0f} s" if number or seconds > most else AT_ONCE)]


def _phase(look: Exchange) -> str:
    """The phase in an offer's status after the purchase."""
    words = (_states.word(look.fields.get(name)) for name in ("procurement_status", "status"))
    return _states.phase(*words, has_machines=bool(look.fields.get("instances") or look.fields.get("procured_at")))


def _is_ready(look: Exchange) -> bool:
    return _phase(look) == _states.READY


def _is_gone(look: Exchange) -> bool:
    return look.status == 404 or _states.is_gone(_states.word(look.fields.get("status")))


def _post_time(seen: Exchanges) -> Observations:
    lost = [item for item in seen.exchanges if item.name == "purchase" and item.status is None]
    return [
        *((False, f"no answer within {item.seconds:.0f} s") for item in lost),
        *((item.seconds <= LONGEST_ANSWER, f"{item.seconds:.0f} s") for item in _made(seen)),
    ]


def _procured_at(seen: Exchanges, made: Exchange) -> float | None:
    """The API's time of the purchase, converted to this computer's clock; None if it is unknown."""
    moment = first_timestamp(look.fields.get("procured_at") for look in (made, *_since(seen, "life_status", made.end)))
    return None if moment is None else moment - (made.ahead or 0.0)


def _post_moment(seen: Exchanges) -> Observations:
    for made in _made(seen):
        if made.seconds >= _SLOW and (moment := _procured_at(seen, made)) is not None:
            after = max(0.0, moment - made.at)
            yield after < made.seconds / 2, f"bought {after:.0f} s after the request, answered {made.seconds:.0f} s"


def _sold(seen: Exchanges) -> Observations:
    looks = [look for made in _made(seen) for look in _since(seen, "life_status", made.end) if look.fields]
    return [(_phase(look) != _states.UNBOUGHT, _phase(look)) for look in looks]


def _boot_time(seen: Exchanges) -> Observations:
    for made in _made(seen):
        moment = _procured_at(seen, made)
        begin = made.at if moment is None else min(max(made.at, moment), made.end)
        yield from _within(LONGEST_BOOT, _since(seen, "life_status", made.end), _is_ready, begin)


def _lets_in(seen: Exchanges) -> Observations:
    for ready in list(filter(_is_ready, seen.all("life_status")))[:1]:
        # The first look at the machine comes after it has accepted a login.
        for look in _since(seen, "life_resource", ready.end)[:1]:
            if seen.lets_in is None:
                yield False, "SSH did not answer"
            else:
                seconds = look.at - ready.at
                yield seconds <= LONGEST_DELAY, f"{seconds:.0f} s" if seen.lets_in else AT_ONCE


def _listed(seen: Exchanges) -> Observations:
    for made in _made(seen) if bought_ids(seen) else ():
        # The machine need not be listed before it is ready.
        ready = [item.at for item in _since(seen, "life_status", made.end) if _is_ready(item)]
        lists = [item for item in _since(seen, "life_list", (*ready, made.end)[0]) if item.is_success]
        for look in lists[:1]:
            is_listed = bought_ids(seen) <= {normalized_id(item.get("resource_id")) for item in look.items}
            yield is_listed, f"{'listed' if is_listed else 'not listed'} {look.at - made.end:.0f} s after the answer"


def _running_price(seen: Exchanges) -> Observations:
    prices = list(filter(None, map(price_per_hour, seen.objects("life_offer"))))[-1:]
    owns = [machine.get("pricing_total_hourly") for machine in seen.objects("life_resource")[:1]]
    return [(own == price, f"{_figure(own)} of the machine, {price} of its offer") for price in prices for own in owns]


def _end_time(seen: Exchanges) -> Observations:
    for deletion in seen.successes("deletion")[-1:]:
        yield from _within(LONGEST_END, _since(seen, "life_resource", deletion.end), _is_gone, deletion.at)


def names_of_machines(exchanges: Exchanges) -> list[str]:
    """The names of machines in the API's answers."""
    items = (*exchanges.items("resources", "life_list"), *exchanges.machines)
    return [item["name"] for item in items if isinstance(item.get("name"), str)]


def bought_ids(exchanges: Exchanges) -> set[str]:
    """The ids of the machines that the probe bought or ended."""
    named = [key for item in exchanges.all("purchase") for key in _ids(item)]
    ended = [exchange.path.rpartition("/")[2] for exchange in exchanges.exchanges if exchange.name == "deletion"]
    return {*named, *ended}


def _ids(answer: Exchange) -> list[str]:
    """The resource ids in the answer to a purchase."""
    named = answer.fields.get("resource_ids")
    return list(filter(None, map(normalized_id, named))) if isinstance(named, list) else []


_PURCHASE = "a purchase (probe_buy)"
ASSUMPTIONS: tuple[Assumption, ...] = (
    Assumption("host", _host, "an api_url from the API's pages"),
    Assumption("wrong-token", _statuses("wrong_token", expected=401), "a request with a wrong token"),
    Assumption("clock", _clock),
    Assumption("timestamps", _timestamps, "an offer or a machine"),
    Assumption("unknown-id", _statuses("unknown_offer", "unknown_resource", expected=404)),
    Assumption("error-body", _error_body),
    Assumption(
        "busy",
        lambda seen: [
            (item.retry_after is not None, "without Retry-After" if item.retry_after is None else "with Retry-After")
            for item in seen.exchanges
            if item.status in (429, 503)
        ],
        "an answer 429 or 503",
    ),
    Assumption("fields", _fields),
    Assumption("more-fields", _more_fields),
    Assumption("gpus", _gpus),
    Assumption("catalogs", lambda seen: _among([_kind(answer.data) for answer in seen.successes(*CATALOGS)], {"list"})),
    Assumption("search", _envelope),
    Assumption("filters", _filters, "a search that is answered with filters"),
    Assumption("search-order", _sorted, "two offers with a price"),
    Assumption("search-again", _same_again, "two searches that find offers"),
    Assumption("search-types", _statuses("several_types", expected=200), "a catalogue of several families"),
    Assumption("search-count", _gpu_count, "a search that is understood"),
    Assumption("search-clusters", _clusters, "a cluster on the market"),
    Assumption("search-no-match", _no_match, "a search that matches nothing"),
    Assumption("search-invalid", _statuses("invalid", expected=422)),
    Assumption("offer-life", _offer_life, "an offer"),
    Assumption(
        "total-price",
        lambda seen: [
            ("total_price_per_hour" in offer, "given" if "total_price_per_hour" in offer else "missing")
            for offer in seen.offers
        ],
        "an offer",
    ),
    Assumption("offer-price", _fresh_price, "an offer"),
    Assumption(
        "vocabulary",
        lambda seen: _among(_BOTH.intersection(_words("procurement_status", seen.statuses)), _EXPECTED_WORDS),
        "an offer",
    ),
    Assumption(
        "odd-words",
        lambda seen: _among(_words("procurement_status", seen.statuses), {*_BOTH, "ready", "failed"}),
        "an offer",
    ),
    Assumption("status-ids", _status_ids, "an offer that was bought"),
    Assumption("progress", _progress, "a machine that is being made"),
    Assumption("ssh-port", _port, "a running machine"),
    Assumption("ssh-command", _ssh_command, "a running machine"),
    Assumption("list-bare", _list_bare),
    Assumption("list-pages", _list_complete),
    Assumption("list-filter", _list_filter, "a machine, and an offer"),
    Assumption("names", _names, "a machine that a registry knows"),
    Assumption(
        "states",
        lambda seen: _among(_words("status", (*seen.items("resources"), *seen.machines)), _RESOURCE_WORDS),
        "a machine",
    ),
    Assumption("history", _history, "a machine"),
    Assumption("spec", _spec, "a machine"),
    Assumption("sync", _sync, "a running machine"),
    Assumption("deleted-listed", _deleted_listed, "a machine that a registry saw end"),
    Assumption("deleted-read", _answered("ended", _states.is_gone), "a machine that a registry saw end"),
    Assumption("post-time", _post_time, _PURCHASE),
    Assumption("post-moment", _post_moment, f"{_PURCHASE} that takes at least {_SLOW:.0f} s"),
    Assumption("post-answer", lambda seen: _among(_words("status", seen.objects("purchase")), {"procured"}), _PURCHASE),
    Assumption(
        "post-ids", lambda seen: [(_ids(made), plural(len(_ids(made)), "id")) for made in _made(seen)], _PURCHASE
    ),
    Assumption("sold", _sold, _PURCHASE),
    Assumption("boot-time", _boot_time, _PURCHASE),
    Assumption("lets-in", _lets_in, _PURCHASE),
    Assumption("listed", _listed, _PURCHASE),
    Assumption("running-price", _running_price, _PURCHASE),
    Assumption("end-answer", _answered("deletion", _states.is_ending), _PURCHASE),
    Assumption("end-time", _end_time, _PURCHASE),
)
