# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's declaration: its variables as typed values, and the objections to them. Every cast is here.

Survey answers, extra variables and older versions of ansible-core turn numbers and booleans into texts.

Protection: none of our code ends the machine of a host with ``provision_protect: true``. If the host has this variable,
it decides. A sweep or an end may find a host that is in no inventory; so the registry notes since when it is protected,
which decides if there is no variable.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import typing as t
from dataclasses import dataclass, field, replace
from functools import partial

from .._machine.connection import UNREADABLE
from .._machine.wanted import LEVELS, least_version, thresholds_of
from .._text import (
    FALSE,
    TRUE,
    UUID,
    Default,
    Value,
    amount,
    applicable,
    duration,
    duration_text,
    formatted,
    number_of,
    printable,
    read_variable,
    text_of,
    usd,
)
from . import lease as leases
from . import search
from .entry import DEFAULT_PROJECT, PROTECTED_SINCE, Entry
from .lease import IDLES, LEASED, NOTED_BY, Clock, TimeLimit, end_of, noted_end, seconds_until, utc_rounded_up
from .place import NOWHERE, Place, twin_of
from .search import (
    AVOIDED_FOR,
    CEILING,
    LISTED,
    UNLIMITED,
    Choice,
    Patience,
    misspelled_in,
    read_avoid,
    read_choice,
    read_patience,
)

# The role's variables, without ``provision_``, whose values become part of the declaration. Others may hold secrets.
PLAIN_VARIABLES = (
    *("project", "spec", "spec_order", "offer_id", "max_price_per_hour", "max_total_price_per_hour"),
    *("max_account_price_per_hour", "budget", "max_bill", "max_attempts", "all_or_nothing", "adopt", "cluster_name"),
    *("ssh_public_key_file", "cloud_init_template", "reach", "verify", "verify_expect", "avoid", "host_key_trust"),
    *("on_failure", "protect", "storage_on_end"),
    *("poll_delay", "poll_retries", "registry_dir", "wait", "wait_delay"),
    *("lease", "lease_max", "lease_unswept", "idle_after", "idle_gpu_percent"),
)

_SCRIPT = "startup.sh.j2"
_COLLECTION = "/ansible_collections/compute_index/supply/"  # the folder of the collection and its playbooks
_VARIABLE = re.compile(r"provision_\w+")
# Ansible connects to these hosts on the controller itself, which must not become a machine.
_LOCALHOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
# Ansible's connection types that run the program ssh; empty means its default.
_SSH_CONNECTIONS = frozenset({"", "ssh", "smart"})
_KEY_TYPES = (
    *("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)
PROTECT = "provision_protect"
# The default of provision_verify_expect; gpu_acceptance has default thresholds of its own.
_EXPECTED: t.Mapping[str, t.Any] = {"min_driver": "", "min_cuda": "", "thresholds": {}}
_UNREADABLE = (*UNREADABLE, "{{", "{%", "{#")  # the last three begin templates


@dataclass(frozen=True)
class Declaration:
    """A host that is to own an offer. Ceilings are in USD per hour; None if not given.

    ``max_bill``: USD for the whole life of its machine, which is as long as the ``lease``; ``bill_max_price_per_hour``:
    the price per hour that follows from both. ``budget``: USD per calendar month (UTC) for the whole project.
    ``unswept``: whether to buy with a warning, or to refuse, if no sweep would end the machine.
    """

    host: str
    name: str
    project: str = DEFAULT_PROJECT
    choices: tuple[Choice, ...] = ()
    order: str = LISTED
    offer_id: str = ""
    declared_max_price_per_hour: float | None = None
    max_total_price_per_hour: float = UNLIMITED
    max_account_price_per_hour: float = UNLIMITED
    budget: float = UNLIMITED
    max_attempts: int = 3
    cluster_name: str = ""
    all_or_nothing: bool = False
    adopt: bool = False
    reach: bool = True
    verify: str = ""  # the level of its machine's acceptance test; empty for no test
    expected: t.Mapping[str, t.Any] = field(default_factory=dict)  # requirements of the test besides the offer
    avoid: float = AVOIDED_FOR  # seconds to avoid the vendor and region of a machine that failed its test
    trust: str = "first_use"
    on_failure: str = "keep"
    protect: bool = False  # none of our code ends its machine
    ends_storage: bool = False  # any end of its machine, also by a sweep, ends the storage that was bought with it
    poll_delay: int = 15
    poll_retries: int = 120
    registry: Place = NOWHERE
    groups: tuple[str, ...] = ()
    identity_file: str = ""  # the absolute path of the private key; empty if ssh chooses one itself
    lease: TimeLimit = field(default_factory=TimeLimit)
    max_bill: float | None = None
    bill_max_price_per_hour: float = UNLIMITED
    unswept: str = "warn"
    patience: Patience = field(default_factory=Patience)
    idle_after: str = ""  # how long its machine may be idle, as given
    # If a sealed plan binds the host (`SealedPlan.bound`): the price and facts of its ``offer_id``, with the storage
    # that outlives the machine; the digests of its order; the plan's number; advice if the offer cannot be bought
    quoted_price_per_hour: float | None = None
    quoted_offer: t.Mapping[str, t.Any] = field(default_factory=dict)
    sealed_order: t.Mapping[str, str] = field(default_factory=dict)
    plan_number: str = ""
    advice: str = ""
    known: t.Mapping[str, t.Any] = field(default_factory=dict)
    listed_id: str = ""  # of the machine that the inventory plugin lists as this host
    objections: tuple[str, ...] = ()
    locked_out: str = ""  # why this job could not log in to its machine; one of the objections

    @property
    def registry_file(self) -> str:
        """The file of the host's entry; empty if entries are not files."""
        return self.registry.entry_file(self.host)

    @property
    def refuses_unswept(self) -> bool:
        """Whether the host buys nothing if no sweep would end its machine."""
        return bool(self.lease) and self.unswept == "refuse"

    @property
    def by_name(self) -> bool:
        """Whether only its name at the API identifies the host's machine."""
        return not self.registry

    def noted(self, clock: Clock) -> dict[str, t.Any]:
        """The variables to note for a machine that the host gets now: the end of its lease, and its protection."""
        now = clock.now()
        end = end_of(self.lease, now)
        leased = {} if end is None else {LEASED: self.lease.text, **noted_end(end), NOTED_BY: clock.noting}
        return {**leased, **({PROTECTED_SINCE: utc_rounded_up(now)} if self.protect else {})}

    def noted_of_purchase(self, clock: Clock) -> dict[str, t.Any]:
        """The variables to note for a purchase: also how long the machine may be idle, which its first boot sets up."""
        return {**self.noted(clock), **({IDLES: self.idle_after} if self.idle_after else {})}

    def changed_protection(self, entry: Entry, now: float) -> dict[str, t.Any]:
        """The change to the entry of a running machine if its protection is declared otherwise; else empty."""
        if not entry.resource_ids or entry.held_by or self.protect is bool(entry.protected_since):
            return {}
        return {PROTECTED_SINCE: utc_rounded_up(now) if self.protect else None}

    @property
    def max_price_per_hour(self) -> float:
        """The highest price per hour that its offer may have: by its own limit, or by the largest bill."""
        return min(
            UNLIMITED if self.declared_max_price_per_hour is None else self.declared_max_price_per_hour,
            self.bill_max_price_per_hour,
        )

    @property
    def ceiling(self) -> str:
        """The highest price for a sentence, with the variable that sets it."""
        if self.plan_number:
            return f"the price in plan {self.plan_number} ({usd(self.max_price_per_hour)})"
        is_bound_by_bill = self.max_price_per_hour not in (UNLIMITED, self.declared_max_price_per_hour)
        if is_bound_by_bill and self.max_bill is not None:
            bill, price = f"USD {amount(self.max_bill)}", usd(round(self.max_price_per_hour, 6))
            return f"provision_max_bill ({bill} with the lease {self.lease.text}, so {price})"
        shown = "unlimited" if self.max_price_per_hour == UNLIMITED else usd(self.max_price_per_hour)
        return f"provision_max_price_per_hour ({shown})"


def read_declaration(
    raw: t.Mapping[str, t.Any], registry: Place, key_fault: str = "", now: float = 0.0, no_login: str = ""
) -> Declaration:
    """Read the values that plugin_utils/_declare.py gathers; ``objections`` are sentences about invalid ones.

    ``registry``: the place of the host's entry. ``key_fault``: why its public key is unsuited (`why_key_unsuited`).
    ``now``: seconds since the epoch. ``no_login``: why ssh cannot reach a machine from this computer; empty if it can.
    """
    wrong: list[str] = []

    def read(name: str, reader: t.Callable[[t.Any], Value], otherwise: Default) -> Value | Default:
        return read_variable(f"provision_{name}", raw[name], reader, otherwise, wrong)

    ceiling = read("max_price_per_hour", _read_usd, 0.0)
    total = read("max_total_price_per_hour", _read_limit, 0.0)
    account = read("max_account_price_per_hour", _read_limit, 0.0)
    budget = read("budget", read_budget, 0.0)
    bill = read("max_bill", read_bill, 0.0)
    lease, lease_max = (read(name, leases.read_time_limit, TimeLimit()) for name in ("lease", "lease_max"))
    wrong += _faults_of_lease(raw, lease, lease_max, bill, now)
    choices = _choices(raw["spec"], wrong)
    declaration = Declaration(
        host=str(raw["host"]),
        name=str(raw["name"]),
        project=str(raw["project"]),
        choices=choices,
        order=str(raw["spec_order"]),
        offer_id=_text(raw["offer_id"]).strip().lower(),
        declared_max_price_per_hour=ceiling,
        max_total_price_per_hour=total,
        max_account_price_per_hour=account,
        budget=budget,
        max_attempts=read("max_attempts", partial(_count, least=1), 1),
        cluster_name=_text(raw["cluster_name"]),
        all_or_nothing=is_true(raw["all_or_nothing"]),
        adopt=is_true(raw["adopt"]),
        reach=is_true(raw["reach"]),
        verify=read("verify", read_level, ""),
        expected=read("verify_expect", read_expected, _EXPECTED),
        avoid=read("avoid", read_avoid, 0.0),
        trust=str(raw["host_key_trust"]),
        on_failure=str(raw["on_failure"]),
        protect=is_true(raw["protect"]),
        ends_storage=str(raw["storage_on_end"]) == "end",
        poll_delay=read("poll_delay", partial(_read_pause, most=3600.0), 0),
        poll_retries=read("poll_retries", _count, 0),
        registry=registry,
        groups=tuple(raw["groups"]),
        lease=lease,
        max_bill=bill,
        bill_max_price_per_hour=search.max_price_for_bill(bill, seconds_until(end_of(lease, now), now)),
        unswept=str(raw["lease_unswept"]),
        patience=read_patience(raw["wait"], raw["wait_delay"], number_of(raw["declared_at"]) or now, wrong),
        idle_after=_text(raw["idle_after"]).strip(),
        identity_file=_text(raw["identity_file"]),
        known=raw["known"],
        listed_id=_text(raw["listed_id"]).lower(),
    )
    wrong += raw["slips"]
    wrong += _faults_of_purchase(declaration)
    read("boot_timeout", _read_pause, 0)
    read("idle_after", leases.read_duration, None)
    read("idle_gpu_percent", partial(_count, most=99), 0)
    wrong += _faults_of_connection(declaration, str(raw["connection"]).strip().rpartition(".")[2], no_login)
    wrong += _faults_of_identity(declaration)
    wrong += _faults_of_first_boot(raw)
    read("registry_dir", _check_folder, None)
    # Ansible's own check adds only objections to variables that have none yet.
    named = set(_VARIABLE.findall(" ".join(wrong)))
    wrong += [f"{item}." for item in raw["invalid"] if named.isdisjoint(_VARIABLE.findall(item))]
    wrong += [key_fault] if key_fault else []
    # If the playbook refuses the host, this one reason is enough.
    return replace(declaration, objections=(str(raw["refused"]),) if raw["refused"] else tuple(wrong))


def _choices(value: t.Any, wrong: list[str]) -> tuple[Choice, ...]:
    """The searches of a host, the preferred one first. A mapping is a single search."""
    specs = value if isinstance(value, (list, tuple)) else [value] if value else []
    if not all(isinstance(spec, t.Mapping) and spec for spec in specs):
        wrong.append("provision_spec must be a search (a mapping), or a list of them.")
        return ()
    choices = []
    for number, spec in enumerate(specs):
        name = f"provision_spec[{number}]" if len(specs) > 1 else "provision_spec"
        wrong += misspelled_in(name, spec)
        choices.append(read_choice(spec, read_limit(f"{name}.{CEILING}", spec.get(CEILING), wrong)))
    return tuple(choices)


def invalid_variables(values: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """The invalid ones of `SWEEP_VARIABLES`, each with a reason. ``values``: evaluated, by variable."""
    for name in SWEEP_VARIABLES:
        if name in _TEXTS and isinstance(values.get(name), (bool, list, t.Mapping)):
            yield name, "must be text"
    for name, reader in _READERS.items():
        try:
            reader(values.get(name))
        except ValueError as error:
            yield name, str(error)


def _check_folder(value: t.Any) -> None:
    if isinstance(value, str) and _COLLECTION in f"{value}/":
        raise ValueError(
            "is in the collection's folder: playbook_dir differs between playbooks, so others would not find the"
            " registry, and an upgrade would delete it; use inventory_dir"
        )


def _read_usd(value: t.Any, unit: str = "USD per hour") -> float | None:
    """A limit in USD; None if none was given. Only plain decimal numbers, since ``3,5`` or ``1e3`` may be mistakes.

    Raises ValueError, after which nothing may be bought.
    """
    text = text_of(value)
    if not text:
        return None
    if text == "unlimited":
        return UNLIMITED
    # With far more digits, the number would become infinite, and limit nothing.
    if not re.fullmatch(r"[0-9]{1,15}([.][0-9]{1,20})?", text):
        raise ValueError(f"must be a number ({unit}) or \"unlimited\", not '{text[:60]}'")
    return float(text)


read_bill = partial(_read_usd, unit="USD, for the whole lease")  # None if not given


def _read_limit(value: t.Any, unit: str = "USD per hour") -> float:
    """A limit in USD; unlimited if not given. Raises ValueError."""
    limit = _read_usd(value, unit)
    return UNLIMITED if limit is None else limit


read_budget = partial(_read_limit, unit="USD a month")


def read_limit(name: str, value: t.Any, wrong: list[str]) -> float:
    """A limit in USD per hour; unlimited if not given. An objection is added to ``wrong``."""
    return read_variable(name, value, _read_limit, 0.0, wrong)


def read_switch(value: t.Any) -> bool | None:
    """The value of a variable that is true or false; None if not given. Raises ValueError with a reason for people.

    Any other text is refused, since a typing error must not end a machine.
    """
    text = text_of(value).lower()
    if text not in ("", *TRUE, *FALSE):
        raise ValueError(f"must be true or false, not '{printable(str(value), 60)}'")
    return text in TRUE if text else None


def why_protected(host: str, value: t.Any, entry: Entry) -> str:
    """Why none of our code ends a host's machine: it is protected, and since when. Empty if it is not.

    ``value``: the host's own ``provision_protect``; None or empty if it has none.
    """
    try:
        declared = read_switch(value)
    except ValueError as error:
        return f"{host} counts as protected: {PROTECT} {error}."
    if not (bool(entry.protected_since) if declared is None else declared):
        return ""
    moment = leases.moment_of(entry.protected_since)  # None also if a person wrote an invalid one
    since = "" if moment is None else f" since {formatted(moment)}"
    return f"{host} is protected{since}. Set {PROTECT}: false for it (or -e {PROTECT}=false) if its machine may end."


# The variables that determine the place of a host's entry
PLACE_VARIABLES = ("provision_project", "provision_registry_dir", "provision_registry_url")
_TEXTS = (*PLACE_VARIABLES, "provision_resource_name")
_READERS: dict[str, t.Callable[[t.Any], t.Any]] = {
    "provision_registry_dir": _check_folder,
    "provision_lease": leases.read_time_limit,
    "provision_idle_after": leases.read_duration,
    "provision_lease_max": leases.read_duration,
    "provision_max_bill": read_bill,
    "provision_budget": read_budget,
    PROTECT: read_switch,
}
# The variables that sweeps and reports read of hosts outside their play
SWEEP_VARIABLES = tuple(dict.fromkeys((*_TEXTS, *_READERS)))


def is_true(value: t.Any) -> bool:
    """A boolean, which may be a text (from a survey, or ``-e name=true``)."""
    return value.strip().lower() in TRUE if isinstance(value, str) else bool(value)


def _count(value: t.Any, least: int = 0, most: int = 999_999) -> int:
    text = str(value).strip()
    if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
        raise ValueError(f"must be a whole number from {least} to {most}, not '{printable(text, 60)}'")
    return int(text)


def _read_pause(value: t.Any, most: float = 86_400.0) -> int:
    """A duration in whole seconds, given as a number of seconds or a text with a unit. Raises ValueError.

    ``most``: the limit in seconds. A longer duration is a mistake, since the machine is billed meanwhile.
    """
    seconds = math.ceil(duration(str(value)))
    if seconds > most:
        raise ValueError(f"must be at most {duration_text(most)}, not '{value}'")
    return seconds


def read_level(value: object) -> str:
    """The level of the acceptance test; empty for no test, and the first level for true. Raises ValueError."""
    word = text_of(value).lower()
    if word not in ("", "none", *LEVELS, *TRUE, *FALSE):
        raise ValueError(f"must be none, {', '.join(LEVELS)}, true or false")
    return word if word in LEVELS else LEVELS[0] if word in TRUE else ""


def read_expected(value: t.Any) -> dict[str, t.Any]:
    """The requirements of an acceptance test: options of gpu_acceptance. Raises ValueError."""
    if not value:
        return dict(_EXPECTED)
    if not isinstance(value, t.Mapping) or value.keys() - _EXPECTED.keys():
        raise ValueError(f"must be a mapping of {', '.join(_EXPECTED)}")
    thresholds = value.get("thresholds") or {}
    if not isinstance(thresholds, t.Mapping):
        raise ValueError("must have thresholds as a mapping")
    versions = {name: least_version(name, str(value.get(name) or "")) for name in ("min_driver", "min_cuda")}
    return {**versions, "thresholds": thresholds_of(thresholds)}


def _faults_of_lease(
    raw: t.Mapping[str, t.Any], lease: TimeLimit, longest: TimeLimit, bill: float | None, now: float
) -> list[str]:
    """Objections to a lease, given the ``longest`` allowed one, and to a largest ``bill`` (USD) without a lease."""
    is_missing = not _text(raw["lease"])  # an unreadable lease is not missing; it has an objection of its own
    is_limited = bool(longest) and longest.moment is None
    left, most = (seconds_until(end, now) for end in (end_of(lease, now), longest.end(now)))
    return applicable(
        {
            f"provision_lease {lease.text} is over: it is {formatted(now)} now.": left == 0,
            f"provision_lease_max must be a duration such as 3d, not a time ({longest.text}).": (
                longest.moment is not None
            ),
            f"provision_lease must say how long the machine may live: provision_lease_max is {longest.text}.": (
                is_limited and is_missing
            ),
            f"provision_lease ({lease.text}) is longer than provision_lease_max ({longest.text}).": (
                is_limited and lease and left > most
            ),
            "provision_max_bill is for the whole life of a machine, so it needs provision_lease or order_lease.": (
                bill not in (None, UNLIMITED) and is_missing
            ),
        }
    )


def _text(value: t.Any) -> str:
    return str(value or "")


def _faults_of_purchase(declaration: Declaration) -> list[str]:
    """Objections to the search or the offer, and to the highest price."""
    choices, offer_id = declaration.choices, declaration.offer_id
    return applicable(
        {
            "provision_spec (a search) or provision_offer_id (one offer) must say what to buy. For the collection's"
            " playbooks, you can also give -e order_gpu_type=L4.": not (choices or offer_id),
            f"provision_offer_id must be the id of an offer, not '{offer_id[:60]}'.": (
                offer_id and not UUID.fullmatch(offer_id)
            ),
            'provision_max_price_per_hour must say what the offer may cost in USD per hour, or "unlimited". For the'
            " collection's playbooks, you can also give -e order_max_price_per_hour=4.": not _has_ceiling(declaration),
            "provision_spec needs a section compute: you cannot log in to a volume alone.": (
                not all(choice.spec.get("compute") for choice in choices)
            ),
        }
    )


def _has_ceiling(declaration: Declaration) -> bool:
    """Whether its price is limited: by the host, or in each search. An offer given by its id needs no limit."""
    if declaration.offer_id or declaration.declared_max_price_per_hour is not None:
        return True
    return bool(declaration.choices) and all(choice.max_price_per_hour != UNLIMITED for choice in declaration.choices)


def _faults_of_connection(declaration: Declaration, connection: str, no_login: str) -> list[str]:
    """Why Ansible could not reach the host's machine. ``no_login``: why ssh cannot; empty if it can."""
    host, is_here = declaration.host, declaration.host in _LOCALHOSTS
    return applicable(
        {
            f"{host} is this computer, not a machine to buy. Declare another host.": is_here,
            f"The connection of {host} is local, so this computer would be configured instead of the machine. Set"
            " ansible_connection for tasks, not for the host, or set provision_reach to false.": (
                declaration.reach and connection == "local" and not is_here
            ),
            no_login: declaration.reach and connection in _SSH_CONNECTIONS and no_login,
        }
    )


def delegation_refused(host: str) -> str:
    """A refusal: the role's tasks run for another host."""
    return (
        f"The role's tasks are delegated, so they would reach another host instead of {host}. Leave out delegate_to:"
        f" API calls run on this computer anyway."
    )


def condition_refused(host: str, condition: str) -> str:
    """A refusal: the role's ``when`` would become false through variables that the role itself sets on the host."""
    return (
        f"The role's condition ({condition}) would no longer hold after the role has set its variables on {host}."
        " Ansible evaluates it for each task of the role, so the tasks that reach and test the machine, and report what"
        " is billed, would be skipped. Use include_role, whose condition is evaluated once."
    )


def _faults_of_identity(declaration: Declaration) -> list[str]:
    """Why the registry cannot keep the host's entry, or why, without one, its name does not identify its machine."""
    host, file, by_name, name = declaration.host, declaration.registry_file, declaration.by_name, declaration.name
    twin = twin_of(declaration.project, host, name)
    return applicable(
        {
            f"The registry has a folder for each host, but '{host}' cannot be the name of a folder.": (
                file and (host in (".", "..") or "/" in host)
            ),
            f"The registry's folder {declaration.registry.text}/{host} has characters that ssh or Ansible cannot"
            " read.": any(mark in file for mark in _UNREADABLE),
            "provision_budget needs a registry (provision_registry_dir or provision_registry_url), which knows what was"
            " spent.": by_name and declaration.budget != UNLIMITED,
            'provision_host_key_trust "seeded" needs a registry (provision_registry_dir), which keeps the host'
            " keys.": by_name and declaration.trust == "seeded",
            "provision_resource_name must not be empty: it identifies the host's machine.": not name.strip(),
            f"Without a registry, only its name identifies a machine, but one of {twin} would also be called {name}."
            " Set a registry, a provision_project without a dash, or another provision_resource_name. For an existing"
            f" machine of this name, leave provision_project out and set provision_resource_name to {name}.": (
                by_name and twin
            ),
        }
    )


def _faults_of_first_boot(raw: t.Mapping[str, t.Any]) -> list[str]:
    """Objections to the variables of the first boot."""
    is_script = str(raw["cloud_init_template"]).rpartition("/")[2] == _SCRIPT
    return applicable(
        {
            # Ansible's check of arguments splits a text at its commas, but the templates get the whole text.
            f"{', '.join(raw['texts'])} must be given as lists.": raw["texts"],
            f"provision_cloud_init holds cloud-config keys, which the template {_SCRIPT} cannot use.": (
                is_script and is_true(raw["has_cloud_init"])
            ),
        }
    )


# Keys that cannot log in


def why_key_unsuited(raw: t.Mapping[str, t.Any], file: str, text: str) -> str:
    """Why no one can log in with the public key that a host declares; empty if nothing is wrong with it.

    ``raw``: the declared values. ``file``: the absolute path of the key file, used if no key is given; ``text``: its
    content.
    """
    if raw["has_ssh_public_key"]:
        return f"provision_ssh_public_key {raw['ssh_key_fault']}." if raw["ssh_key_fault"] else ""
    if not text:
        return (
            f"There is no SSH public key: neither provision_ssh_public_key nor the file {file}"
            " (provision_ssh_public_key_file). Create one with ssh-keygen -t ed25519."
        )
    fault = why_no_public_key(text)
    return f"The file {file} (provision_ssh_public_key_file) {fault}." if fault else ""


def why_locked_out(host: Declaration, declared: str, public_key: str, job_keys: str | None) -> str:
    """Why an AWX job could not log in to the machine: its machine credential does not match the public key.

    ``declared``: the fingerprint of the key that the host gives as a text; ``public_key``: the content of the key file
    if it gives none. An unreadable key has an objection of its own. ``job_keys``: the output of ``ssh-add -l``; None
    outside AWX.
    """
    if job_keys is None or not host.reach or host.identity_file:  # otherwise only keys of the job's agent can log in
        return ""
    wanted = declared or fingerprint(public_key)
    if not wanted or wanted in job_keys.split():
        return ""
    return (
        f"This job cannot log in to the machines that it would buy: they accept the key {wanted}"
        " (provision_ssh_public_key, in the variables of the inventory), but the job has these keys:"
        f" {job_keys.strip().rstrip('.')}. Add the machine credential with the private key to the job template, or run"
        " compute_index.supply.awx_setup with awx_update_secrets=true, which sets both."
    )


def no_ssh_client(program: str, without_account: int | None = None) -> str:
    """A refusal: this computer has no SSH client, or OpenSSH ends at once, since the user (by id) has no account."""
    fault, way = f"This computer has no {program}", "Install an SSH client"
    if without_account is not None:
        fault = f"{program} does not work for user id {without_account}, which has no entry in /etc/passwd"
        way = "Add one, or run as another user"
    return f"{fault}, so it could not log in to the machines that it would buy. {way}, or set provision_reach to false."


# The form of SSH keys


def check_ssh_public_key(value: str) -> str:
    """Return a public key in OpenSSH's one-line format, without line end. Raises ValueError, without the key's text."""
    if fault := why_no_public_key(value):
        raise ValueError(fault)
    return value.strip()


def why_no_public_key(value: str) -> str:
    """Why this is not a public key, to follow its name in a sentence; empty if it is one."""
    key = value.strip()
    kind, _blank, rest = key.partition(" ")
    faults = {
        "is empty": not key,
        "is a PRIVATE key. Give the public one, the file that ends in .pub": (
            "PRIVATE KEY" in key or key.startswith("PuTTY-User-Key-File")
        ),
        "must be one key on one line": not {"\n", "\r"}.isdisjoint(key),
        f"must begin with the key's type, one of: {', '.join(_KEY_TYPES)}": kind not in _KEY_TYPES,
        f"is damaged: it has no valid key after '{kind}'": not _is_key(kind, rest),
    }
    return next(iter(applicable(faults)), "")


def _is_key(kind: str, rest: str) -> bool:
    """Whether the data are a valid key: non-empty fields, each after its length; the first is the type (RFC 4253, 6.6).

    For ed25519, the field after the type has 32 bytes (RFC 8709, 4).
    """
    try:
        blob = io.BytesIO(base64.b64decode(rest.strip().partition(" ")[0], validate=True))
    except ValueError:
        return False
    fields = []
    while head := blob.read(4):
        length = int.from_bytes(head, "big")
        fields.append(blob.read(length))
        if len(fields[-1]) < length:
            return False
    fits = len(fields) > 1 and all(fields) and fields[0] == kind.encode()
    return fits and (len(fields[1]) == 32 or "ed25519" not in kind)


def fingerprint(public: str) -> str:
    """The fingerprint of a public key as ``ssh-keygen -l`` shows it, ``SHA256:...``; empty if the key is invalid."""
    try:
        digest = hashlib.sha256(base64.b64decode(public.split()[1], validate=True)).digest()
    except (IndexError, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
