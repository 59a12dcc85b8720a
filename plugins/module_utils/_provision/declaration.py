# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host declares: its variables as typed values, and what is wrong with them. Every cast is here.

Survey answers, extra variables and older versions of ansible-core make texts of numbers and booleans.

Whose machine is protected? None of our code ends that of a host with ``provision_protect: true``. The host's own
variable decides, wherever it has one. A sweep or an end may meet a host that is in no inventory; so the registry notes
since when the host is protected, and that counts where the variable says nothing.
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
from .lease import ENDS_AT, IDLES, LEASED, NOTED_BY, Clock, Lease, utc_rounded_up
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

# The role's variables, without ``provision_``, whose values are declared as they are. The others may hold secrets.
GIVEN = (
    *("project", "spec", "spec_order", "offer_id", "max_price_per_hour", "max_total_price_per_hour"),
    *("max_account_price_per_hour", "budget", "max_bill", "max_attempts", "all_or_nothing", "adopt", "cluster_name"),
    *("ssh_public_key_file", "cloud_init_template", "reach", "verify", "verify_expect", "avoid", "host_key_trust"),
    *("on_failure", "protect", "storage_on_end"),
    *("poll_delay", "poll_retries", "registry_dir", "wait", "wait_delay"),
    *("lease", "lease_max", "lease_unswept", "idle_after", "idle_gpu_percent"),
)

_SCRIPT = "startup.sh.j2"
# Where the collection and its playbooks lie.
_COLLECTION = "/ansible_collections/compute_index/supply/"
_VARIABLE = re.compile(r"provision_\w+")
# Ansible runs a connection to these on the controller itself, which must not be taken for a machine.
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
# What it calls a connection by the program ssh; empty: its default.
_BY_SSH = frozenset({"", "ssh", "smart"})
_KEY_TYPES = (
    *("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)
PROTECT = "provision_protect"
# What a test expects beside the offer if the host says nothing; gpu_acceptance has thresholds of its own.
_EXPECTED: t.Mapping[str, t.Any] = {"min_driver": "", "min_cuda": "", "thresholds": {}}
# The last ones Ansible takes for a template.
_UNREADABLE = (*UNREADABLE, "{{", "{%", "{#")


@dataclass(frozen=True)
class Declaration:
    """A host that shall own an offer. Ceilings are in USD per hour, None where none was given.

    ``max_bill``: USD for the whole life of its machine, which is as long as the ``lease``; ``bill_max_price_per_hour``:
    the price per hour that follows from both. ``budget``: USD a calendar month (UTC) for all of its project.
    ``unswept``: whether one that no sweep would end is bought with a warning, or not.
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
    verify: str = ""  # the level of the test before its machine is kept, empty for none
    expected: t.Mapping[str, t.Any] = field(default_factory=dict)  # by which its machine is tested, beside the offer
    avoid: float = AVOIDED_FOR  # seconds for which it buys nothing where a machine did not pass its test
    trust: str = "first_use"
    on_failure: str = "keep"
    protect: bool = False  # none of our code ends its machine
    ends_storage: bool = False  # each end of its machine, also by a sweep, ends the storage that came with it
    poll_delay: int = 15
    poll_retries: int = 120
    registry: Place = NOWHERE  # where it is remembered
    groups: tuple[str, ...] = ()
    identity_file: str = ""  # of the private key; absolute, empty where ssh looks for one by itself
    lease: Lease = field(default_factory=Lease)
    max_bill: float | None = None
    bill_max_price_per_hour: float = UNLIMITED
    unswept: str = "warn"
    patience: Patience = field(default_factory=Patience)
    idle_after: str = ""  # how long its machine may be idle, as it was given
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
        """The host's entry; empty without a folder of them."""
        return self.registry.entry_file(self.host)

    @property
    def refuses_unswept(self) -> bool:
        """Whether it is not bought if no sweep would end it."""
        return bool(self.lease) and self.unswept == "refuse"

    @property
    def by_name(self) -> bool:
        """Whether the name at the API is all that tells which machine is the host's."""
        return not self.registry

    def noted(self, clock: Clock) -> dict[str, t.Any]:
        """What the registry notes of what begins now: the end of its lease, and that its machine is protected."""
        now = clock.now()
        end = self.lease.end(now)
        leased = {} if end is None else {LEASED: self.lease.text, ENDS_AT: utc_rounded_up(end), NOTED_BY: clock.noting}
        return {**leased, **({PROTECTED_SINCE: utc_rounded_up(now)} if self.protect else {})}

    def noted_of_purchase(self, clock: Clock) -> dict[str, t.Any]:
        """What the registry notes of a purchase: also how long the machine may be idle, by its first boot."""
        return {**self.noted(clock), **({IDLES: self.idle_after} if self.idle_after else {})}

    def changed_protection(self, entry: Entry, now: float) -> dict[str, t.Any]:
        """What the registry must change about a machine that runs, now that this is declared; empty for nothing."""
        if not entry.resource_ids or entry.held_by or self.protect is bool(entry.protected_since):
            return {}
        return {PROTECTED_SINCE: utc_rounded_up(now) if self.protect else None}

    @property
    def max_price_per_hour(self) -> float:
        """The most that its offer may cost. An offer that is named by its id needs no ceiling."""
        return min(
            UNLIMITED if self.declared_max_price_per_hour is None else self.declared_max_price_per_hour,
            self.bill_max_price_per_hour,
        )

    @property
    def ceiling(self) -> str:
        """That limit in a sentence, by the variable that sets it."""
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
    """The declaration of the values that plugin_utils/_declare.py gathers; ``objections`` say what is wrong.

    ``now``: seconds since the epoch.

    ``registry`` is the host's place. ``key_fault``: why its public key would let nobody in (`why_key_unsuited`).
    ``no_login``: why ssh would reach no machine from this computer, empty if it may.
    """
    wrong: list[str] = []
    host, name = str(raw["host"]), str(raw["name"])
    ceiling = read_variable("provision_max_price_per_hour", raw["max_price_per_hour"], _read_usd, 0.0, wrong)
    total = read_limit("provision_max_total_price_per_hour", raw["max_total_price_per_hour"], wrong)
    account = read_limit("provision_max_account_price_per_hour", raw["max_account_price_per_hour"], wrong)
    budget = read_variable("provision_budget", raw["budget"], read_budget, 0.0, wrong)
    bill = read_variable("provision_max_bill", raw["max_bill"], read_bill, 0.0, wrong)
    lease, lease_max = (
        read_variable(f"provision_{name}", raw[name], leases.read_lease, Lease(), wrong)
        for name in ("lease", "lease_max")
    )
    wrong += _of_lease(raw, lease, lease_max, bill, now)
    choices = _choices(raw["spec"], wrong)
    declaration = Declaration(
        host=host,
        name=name,
        project=str(raw["project"]),
        choices=choices,
        order=str(raw["spec_order"]),
        offer_id=_text(raw["offer_id"]).strip().lower(),
        declared_max_price_per_hour=ceiling,
        max_total_price_per_hour=total,
        max_account_price_per_hour=account,
        budget=budget,
        max_attempts=read_variable("provision_max_attempts", raw["max_attempts"], partial(_count, least=1), 1, wrong),
        cluster_name=_text(raw["cluster_name"]),
        all_or_nothing=truth(raw["all_or_nothing"]),
        adopt=truth(raw["adopt"]),
        reach=truth(raw["reach"]),
        verify=read_variable("provision_verify", raw["verify"], read_level, "", wrong),
        expected=read_variable("provision_verify_expect", raw["verify_expect"], read_expected, _EXPECTED, wrong),
        avoid=read_variable("provision_avoid", raw["avoid"], read_avoid, 0.0, wrong),
        trust=str(raw["host_key_trust"]),
        on_failure=str(raw["on_failure"]),
        protect=truth(raw["protect"]),
        ends_storage=str(raw["storage_on_end"]) == "end",
        poll_delay=read_variable(
            "provision_poll_delay", raw["poll_delay"], partial(_read_pause, most=3600.0), 0, wrong
        ),
        poll_retries=read_variable("provision_poll_retries", raw["poll_retries"], _count, 0, wrong),
        registry=registry,
        groups=tuple(raw["groups"]),
        lease=lease,
        max_bill=bill,
        bill_max_price_per_hour=search.max_price_for_bill(None if bill == UNLIMITED else bill, lease.lasts(now)),
        unswept=str(raw["lease_unswept"]),
        patience=read_patience(raw["wait"], raw["wait_delay"], number_of(raw["declared_at"]) or now, wrong),
        idle_after=_text(raw["idle_after"]).strip(),
        identity_file=_text(raw["identity_file"]),
        known=raw["known"],
        listed_id=_text(raw["listed_id"]).lower(),
    )
    wrong += raw["slips"]
    wrong += _of_order(declaration)
    read_variable("provision_boot_timeout", raw["boot_timeout"], _read_pause, 0, wrong)
    read_variable("provision_idle_after", raw["idle_after"], leases.read_duration, None, wrong)
    read_variable("provision_idle_gpu_percent", raw["idle_gpu_percent"], partial(_count, most=99), 0, wrong)
    wrong += _of_connection(declaration, str(raw["connection"]).strip().rpartition(".")[2], no_login)
    wrong += _of_identity(declaration)
    wrong += _of_first_boot(raw)
    read_variable("provision_registry_dir", raw["registry_dir"], _check_folder, None, wrong)
    # Where both checks object to a variable, the sentence of this file is the one for people.
    named = set(_VARIABLE.findall(" ".join(wrong)))
    wrong += [f"{item}." for item in raw["invalid"] if named.isdisjoint(_VARIABLE.findall(item))]
    wrong += [key_fault] if key_fault else []
    # What the playbook refuses needs no second reason.
    return replace(declaration, objections=(str(raw["refused"]),) if raw["refused"] else tuple(wrong))


def _choices(value: t.Any, wrong: list[str]) -> tuple[Choice, ...]:
    """The searches of a host, the preferred one first: a mapping is the only one."""
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


def mistyped(values: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """Which of the variables that describe a host make no sense, and why. ``values``: evaluated, by their names."""
    for name in DESCRIBED:
        if name in _TEXTS and isinstance(values.get(name), (bool, list, t.Mapping)):
            yield name, "must be a text"
    for name, reader in _READERS.items():
        try:
            reader(values.get(name))
        except ValueError as error:
            yield name, str(error)


def _check_folder(value: t.Any) -> None:
    if isinstance(value, str) and _COLLECTION in f"{value}/":
        raise ValueError(
            "lies in the folder of the collection: playbook_dir is another folder in each playbook, so that others"
            " would not find the registry, and an upgrade would remove it; use inventory_dir"
        )


def _read_usd(value: t.Any, unit: str = "USD per hour") -> float | None:
    """USD; None where nothing was given. Only plain decimal numbers: ``3,5`` or ``1e3`` may be slips.

    Raises ValueError, by which nothing may be bought.
    """
    text = text_of(value)
    if not text:
        return None
    if text == "unlimited":
        return UNLIMITED
    # A float of more digits than there are would be infinite, and limit nothing.
    if not re.fullmatch(r"[0-9]{1,15}([.][0-9]{1,20})?", text):
        raise ValueError(f"must be a number ({unit}) or \"unlimited\", not '{text[:60]}'")
    return float(text)


read_bill = partial(_read_usd, unit="USD, for the whole lease")  # None where nothing was given


def read_budget(value: t.Any) -> float:
    """What all of a project may cost in a month, in USD. Raises ValueError."""
    budget = _read_usd(value, "USD a month")
    return UNLIMITED if budget is None else budget


def read_limit(name: str, value: t.Any, wrong: list[str]) -> float:
    """A limit of USD per hour, none if nothing was given. What is wrong with it is added to ``wrong``."""
    limit = read_variable(name, value, _read_usd, 0.0, wrong)
    return UNLIMITED if limit is None else limit


def read_switch(value: t.Any) -> bool | None:
    """What a variable that is true or false says, None for nothing. Raises ValueError with a reason for a person.

    A text that is neither is no answer: a slip must not end a machine.
    """
    text = text_of(value).lower()
    if text not in ("", *TRUE, *FALSE):
        raise ValueError(f"must be true or false, not '{printable(str(value), 60)}'")
    return text in TRUE if text else None


def why_protected(host: str, value: t.Any, entry: Entry) -> str:
    """Why nothing of ours ends the machine of a host, by name and since when; empty if it is not protected.

    ``value``: the host's own ``provision_protect``, None or empty if it has none.
    """
    try:
        declared = read_switch(value)
    except ValueError as error:
        return f"{host} counts as protected: {PROTECT} {error}."
    if not (bool(entry.protected_since) if declared is None else declared):
        return ""
    moment = leases.moment_of(entry.protected_since)  # None also for one that a person wrote, and that is none
    since = "" if moment is None else f" since {formatted(moment)}"
    return f"{host} is protected{since}. Set {PROTECT}: false for it (or -e {PROTECT}=false) if its machine may end."


# What says where a host is remembered, and what else sweeps and reports read of hosts that take no part in a play.
WHERE = ("provision_project", "provision_registry_dir", "provision_registry_url")
_TEXTS = (*WHERE, "provision_resource_name")
_READERS: dict[str, t.Callable[[t.Any], t.Any]] = {
    "provision_registry_dir": _check_folder,
    "provision_lease": leases.read_lease,
    "provision_idle_after": leases.read_duration,
    "provision_lease_max": leases.read_duration,
    "provision_max_bill": read_bill,
    "provision_budget": read_budget,
    PROTECT: read_switch,
}
DESCRIBED = tuple(dict.fromkeys((*_TEXTS, *_READERS)))


def truth(value: t.Any) -> bool:
    """A boolean, also where it came as a text (surveys, ``-e name=true``)."""
    return value.strip().lower() in TRUE if isinstance(value, str) else bool(value)


def _count(value: t.Any, least: int = 0, most: int = 999_999) -> int:
    text = str(value).strip()
    if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
        raise ValueError(f"must be a whole number from {least} to {most}, not '{printable(text, 60)}'")
    return int(text)


def _read_pause(value: t.Any, most: float = 86_400.0) -> int:
    """A duration in whole seconds, as tasks take it: a number of them, or a text with its unit. Raises ValueError.

    ``most``: seconds. A machine is billed while it is waited for, so what is longer is a slip.
    """
    seconds = math.ceil(duration(str(value)))
    if seconds > most:
        raise ValueError(f"must be at most {duration_text(most)}, not '{value}'")
    return seconds


def read_level(value: object) -> str:
    """The level of a test of machines, empty for none; the first one for true. Raises ValueError."""
    word = text_of(value).lower()
    if word not in ("", "none", *LEVELS, *TRUE, *FALSE):
        raise ValueError(f"must be none, {', '.join(LEVELS)}, true or false")
    return word if word in LEVELS else LEVELS[0] if word in TRUE else ""


def read_expected(value: t.Any) -> dict[str, t.Any]:
    """What a test expects of a machine: options of gpu_acceptance. Raises ValueError."""
    if not value:
        return dict(_EXPECTED)
    if not isinstance(value, t.Mapping) or value.keys() - _EXPECTED.keys():
        raise ValueError(f"must be a mapping of {', '.join(_EXPECTED)}")
    thresholds = value.get("thresholds") or {}
    if not isinstance(thresholds, t.Mapping):
        raise ValueError("must have thresholds as a mapping")
    versions = {name: least_version(name, str(value.get(name) or "")) for name in ("min_driver", "min_cuda")}
    return {**versions, "thresholds": thresholds_of(thresholds)}


def _of_lease(raw: t.Mapping[str, t.Any], lease: Lease, longest: Lease, bill: float | None, now: float) -> list[str]:
    """What is wrong with a lease beside the ``longest`` that is allowed, and with a ``bill`` (USD) for all of it."""
    is_missing = not _text(raw["lease"])  # one that cannot be read is wrong for that alone
    is_limited = bool(longest) and longest.moment is None
    return applicable(
        {
            f"provision_lease {lease.text} is over: it is {formatted(now)} now.": lease.lasts(now) == 0,
            f"provision_lease_max must be a duration such as 3d, not a time ({longest.text}).": (
                longest.moment is not None
            ),
            f"provision_lease must say how long the machine may live: provision_lease_max is {longest.text}.": (
                is_limited and is_missing
            ),
            f"provision_lease makes a lease of {lease.text}, longer than provision_lease_max {longest.text}.": (
                is_limited and lease and lease.lasts(now) > longest.lasts(now)
            ),
            "provision_max_bill is for the whole life of a machine, so it needs provision_lease or order_lease.": (
                bill not in (None, UNLIMITED) and is_missing
            ),
        }
    )


def _text(value: t.Any) -> str:
    return str(value or "")


def _of_order(declaration: Declaration) -> list[str]:
    """What is wrong with what is to be bought."""
    choices, offer_id = declaration.choices, declaration.offer_id
    return applicable(
        {
            "provision_spec (a search) or provision_offer_id (one offer) must say what to buy. For a playbook of this"
            " collection, -e order_gpu_type=L4 does so as well.": not (choices or offer_id),
            f"provision_offer_id must be the id of an offer, not '{offer_id[:60]}'.": (
                offer_id and not UUID.fullmatch(offer_id)
            ),
            'provision_max_price_per_hour must say what the offer may cost in USD per hour, or "unlimited". For a'
            " playbook of this collection, -e order_max_price_per_hour=4 does so as well.": not _is_priced(declaration),
            "provision_spec needs a section compute: a volume alone is no machine that one can log in to.": (
                not all(choice.spec.get("compute") for choice in choices)
            ),
        }
    )


def _is_priced(declaration: Declaration) -> bool:
    """Whether it says what the offer may cost: by its id, by the host's maximum, or by that of each choice."""
    if declaration.offer_id or declaration.declared_max_price_per_hour is not None:
        return True
    return bool(declaration.choices) and all(choice.max_price_per_hour != UNLIMITED for choice in declaration.choices)


def _of_connection(declaration: Declaration, connection: str, no_login: str) -> list[str]:
    """Why the host could not be reached. ``no_login``: why ssh could not, empty if it could."""
    host, is_here = declaration.host, declaration.host in _HERE
    return applicable(
        {
            f"{host} is this computer, which must not be taken for a machine. Declare another host.": is_here,
            f"The connection of {host} is local, so this computer would be configured in the machine's place. Set it"
            " for tasks, not for the host, or set provision_reach to false.": (
                declaration.reach and connection == "local" and not is_here
            ),
            no_login: declaration.reach and connection in _BY_SSH and no_login,
        }
    )


def delegated(host: str) -> str:
    """The role's tasks run for another host in place of this one, be its machine bought or not."""
    return (
        f"The role's tasks are delegated, so another host would be reached in place of {host}. Leave out delegate_to:"
        f" what asks the API runs here anyway."
    )


def turned(host: str, condition: str) -> str:
    """What the role gives to the host turns a condition that Ansible asks for each of its tasks."""
    return (
        f"The condition of the role ({condition}) would not hold any more once {host} has the variables that the role"
        " gives it, and Ansible asks it again for each task of the role: then nobody would reach or test the machine,"
        " or say what is billed. Take the role by include_role, whose condition is asked once."
    )


def _of_identity(declaration: Declaration) -> list[str]:
    """Why the registry could not keep the host, or, without one, its name does not tell which machine is its own."""
    host, file, by_name, name = declaration.host, declaration.registry_file, declaration.by_name, declaration.name
    twin = twin_of(declaration.project, host, name)
    return applicable(
        {
            f"The registry keeps a folder for each host, and '{host}' is no name of one.": (
                file and (host in (".", "..") or "/" in host)
            ),
            f"The registry's folder {declaration.registry.text}/{host} has characters that ssh or Ansible cannot"
            " read.": any(mark in file for mark in _UNREADABLE),
            "provision_budget needs a registry (provision_registry_dir or provision_registry_url), which knows what was"
            " spent.": by_name and declaration.budget != UNLIMITED,
            'provision_host_key_trust "seeded" needs a registry (provision_registry_dir), where the host keys are'
            " kept.": by_name and declaration.trust == "seeded",
            "provision_resource_name must not be empty: it tells which machine is the host's.": not name.strip(),
            f"Without a registry a name tells which machine is the host's, and {name} is also that of {twin}. Set a"
            " registry, a provision_project without a dash, or another provision_resource_name. For a machine that has"
            f" this name already, leave provision_project out and set provision_resource_name to {name}.": (
                by_name and twin
            ),
        }
    )


def _of_first_boot(raw: t.Mapping[str, t.Any]) -> list[str]:
    """What is wrong with what the first boot does."""
    is_script = str(raw["cloud_init_template"]).rpartition("/")[2] == _SCRIPT
    return applicable(
        {
            # Ansible's check of arguments takes a text for a list of its parts between commas, but the templates get
            # the text.
            f"{', '.join(raw['texts'])} must be given as lists.": raw["texts"],
            f"provision_cloud_init holds cloud-config keys, which the template {_SCRIPT} cannot use.": (
                is_script and truth(raw["has_cloud_init"])
            ),
        }
    )


# What lets nobody in


def why_key_unsuited(raw: t.Mapping[str, t.Any], file: str, text: str) -> str:
    """Why the public key that a host declares would let nobody in; empty if nothing speaks against it.

    ``raw``: its declared values. ``file``: the absolute path that counts if it gives no key; ``text``: what is in it.
    """
    if raw["has_ssh_public_key"]:
        return f"provision_ssh_public_key {raw['ssh_key_fault']}." if raw["ssh_key_fault"] else ""
    if not text:
        return (
            f"There is no SSH public key: neither provision_ssh_public_key nor the file {file}"
            " (provision_ssh_public_key_file). ssh-keygen -t ed25519 makes one."
        )
    fault = why_no_public_key(text)
    return f"The file {file} (provision_ssh_public_key_file) {fault}." if fault else ""


def why_locked_out(host: Declaration, declared: str, public_key: str, job_keys: str | None) -> str:
    """Why a job of AWX could not log in to the machine: its machine credential and the public key are changed apart.

    ``declared``: the fingerprint of the key that the host gives as a text; ``public_key``: what is in the file of
    another. One that cannot be read is objected to elsewhere. ``job_keys``: what ``ssh-add -l`` prints; None outside
    AWX.
    """
    if job_keys is None or not host.reach or host.identity_file:  # only a key of the job's agent can let it in
        return ""
    wanted = declared or fingerprint(public_key)
    if not wanted or wanted in job_keys.split():
        return ""
    return (
        f"This job cannot log in to the machines that it would buy: they let in the key {wanted}"
        " (provision_ssh_public_key, in the variables of the inventory). Its own keys, says ssh-add:"
        f" {job_keys.strip().rstrip('.')}. Add the machine credential of that pair to the job template, or run"
        " compute_index.supply.awx_setup with awx_update_secrets=true, which hands over both halves."
    )


def no_ssh(program: str) -> str:
    """This computer has no SSH client."""
    return (
        f"This computer has no {program}, so no one could log in to the machines that would be bought. Install an SSH"
        " client, or set provision_reach to false."
    )


# What keys for SSH look like


def check_ssh_public_key(value: str) -> str:
    """One public key in OpenSSH's one-line format, without line end. The key is never echoed."""
    key = value.strip()
    kind, _blank, rest = key.partition(" ")
    for fault in applicable(
        {
            "is empty": not key,
            "is a PRIVATE key. Give the public one, the file that ends in .pub": (
                "PRIVATE KEY" in key or key.startswith("PuTTY-User-Key-File")
            ),
            "must be one key on one line": not {"\n", "\r"}.isdisjoint(key),
            f"must begin with the key's type, one of: {', '.join(_KEY_TYPES)}": kind not in _KEY_TYPES,
            f"is damaged: what follows '{kind}' is no such key": not _is_key(kind, rest),
        }
    ):
        raise ValueError(fault)
    return key


def _is_key(kind: str, rest: str) -> bool:
    """Whether fields follow, none empty, each with its length before it; the first repeats the type (RFC 4253, 6.6).

    The one behind the type has 32 bytes if the type is of ed25519 (RFC 8709, 4).
    """
    try:
        blob = io.BytesIO(base64.b64decode(rest.strip().partition(" ")[0], validate=True))
    except ValueError:
        return False
    fields = []
    while head := blob.read(4):
        length = int.from_bytes(head, "big")
        fields.append(blob.read(length))
        if len(head) < 4 or len(fields[-1]) < length:
            return False
    fits = len(fields) > 1 and all(fields) and fields[0] == kind.encode()
    return fits and (len(fields[1]) == 32 or "ed25519" not in kind)


def why_no_public_key(value: str) -> str:
    """Why this is no public key, to follow its name in a sentence; empty if it is one."""
    try:
        check_ssh_public_key(value)
    except ValueError as error:
        return str(error)
    return ""


def fingerprint(public: str) -> str:
    """A public key's fingerprint as ``ssh-keygen -l`` shows it, ``SHA256:...``; empty if that is no key."""
    try:
        digest = hashlib.sha256(base64.b64decode(public.split()[1], validate=True)).digest()
    except (IndexError, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
