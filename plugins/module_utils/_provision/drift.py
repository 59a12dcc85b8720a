# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a later run orders an offer otherwise than it was first ordered, or declares something else than it owns.

The registry keeps a digest of each part of the order, and nothing of the order itself. User data may contain a password
that is short enough to be guessed, so a digest is keyed with the API's token: who reads only the registry cannot try
guesses. Digests of another token say nothing.

Pure: knows no Ansible, no HTTP, no clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import typing as t
from dataclasses import dataclass, field

from .._wording import usd
from . import choosing, lease, storage
from .boot import NO_MARK
from .candidates import Case
from .declaration import Declaration
from .entry import BOOT_MARK, ORDERED, Entry
from .messages import joined
from .search import Offer, product_of

_TOKEN = "token"  # the part by which digests of another token are recognised
_USER_DATA = "cloud_init"
_OTHER = {_USER_DATA: "other user data (cloud_init)"}  # where the name alone says nothing to a person
_HOST_KEY = "provision_bootstrap_host_key"
_OFFER = "offer_id"  # which the digests are noted for


def order_digests(order: t.Mapping[str, str], token: str, note: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The digest of each part of an order, the body of POST /procure_offer. ``note``: what is kept with its purchase.

    User data that contain a host key, which each run makes anew, differ whatever the user gave, so they have no digest.
    """
    left_out = {_OFFER, _USER_DATA} if _HOST_KEY in note else {_OFFER}
    parts = {_TOKEN: "", **{name: value for name, value in order.items() if name not in left_out}}
    texts = {name: f"{name}={value}".encode("utf-8", "surrogatepass") for name, value in parts.items()}
    return {name: hmac.new(token.encode(), text, hashlib.sha256).hexdigest() for name, text in texts.items()}


def differing_parts(noted: t.Mapping[str, t.Any], now: t.Mapping[str, str]) -> list[str]:
    """The parts in which two orders differ, by their digests; none if nothing was noted, or with another token."""
    return [] if noted.get(_TOKEN) != now.get(_TOKEN) else _unlike(noted, now)


def _unlike(noted: t.Mapping[str, t.Any], now: t.Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*noted, *now} if noted.get(name) != now.get(name))


def leaves_mark(user_data: str | None) -> bool:
    """Whether user data leave the mark at their end: all do, but for those that say that they leave none."""
    return bool(user_data) and NO_MARK not in str(user_data)


@dataclass(frozen=True)
class OrderDigests:
    """What is remembered of an order: its ``digests``, and whether its user data leave a mark at their end (`boot`).

    ``sealed``: the digests that it has in a plan (`sealed`); empty without a plan.
    """

    digests: t.Mapping[str, str] = field(default_factory=dict)
    leaves_mark: bool = False
    sealed: t.Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        body: t.Mapping[str, str],
        token: str,
        note: t.Mapping[str, t.Any],
        sealed: t.Mapping[str, str] | None = None,
    ) -> OrderDigests:
        """That of the body of POST /procure_offer. ``note``: what is kept with its purchase."""
        return cls(order_digests(body, token, note), leaves_mark(body.get(_USER_DATA)), sealed or {})

    def check(self) -> None:
        """Raise ValueError if it is not as its plan has it. Another token is a difference, too."""
        if parts := _unlike(self.sealed, self.digests) if self.sealed else []:
            others = [_OTHER.get(part, f"another {part}") for part in parts]
            raise ValueError(f"The plan was quoted with {' and '.join(others)}.")  # the caller says what to do

    def kept(self, entry: Entry) -> dict[str, t.Any]:
        """What the registry keeps while the order is sent (again): what was ordered first may still arrive."""
        first = entry.first_ordered
        mark = entry.boot_mark if first else self.leaves_mark
        return {ORDERED: dict(first or self.digests), BOOT_MARK: mark or None}

    def warnings(self, entry: Entry) -> list[str]:
        """What people must know if the purchase of an entry was ordered otherwise."""
        parts = differing_parts(entry.first_ordered, self.digests)
        warning = (
            f"Offer {entry.offer_id} was first ordered with another {' and another '.join(parts)}. Its machine was or"
            " will be bought as first ordered. If you need it as ordered now, end it with"
            " compute_index.supply.decommission, then run again."
        )
        return [warning] if parts else []


def mismatch_of_noted(host: Declaration, entry: Entry) -> str:
    """In what the noted offer is none that the host searches for now; empty if it is one, or if the host names one."""
    return choosing.mismatch_of_all(host.choices, entry.offer) if entry.offer and not host.offer_id else ""


def ordered_otherwise(host: Declaration, entry: Entry) -> str:
    """That the offer of an open purchase is none that its host searches for now; empty if it is one."""
    odd = mismatch_of_noted(host, entry)
    declares = f"{host.host} declares something else than its open purchase was ordered as"
    return f"{declares}: {odd}. It is bought as ordered." if odd else ""


def noted_offer(offer: Offer) -> dict[str, t.Any]:
    """What the registry remembers of an offer, to tell later whether what is declared differs."""
    further: dict[str, t.Any] = {
        lease.VALID_TO: None if lease.end_of_offer(offer) is None else offer[lease.VALID_TO],
        storage.DETAILS: storage.brought_by(offer) or None,
    }
    return {**product_of(offer), **{name: value for name, value in further.items() if value is not None}}


def differs_from_declared(case: Case) -> str:
    """In what a host owns or has ordered something else than it declares now; empty where it has not."""
    host, entry = case.host, case.entry
    if not case.standing.owns:
        return ordered_otherwise(host, entry) if case.is_open else ""
    # The machine of an open purchase: no user data are rendered for it any more, so nothing is compared.
    taken = (
        f"{host.host} takes the machine of offer {entry.offer_id} as an earlier run has ordered it, also if its key or"
        " user data have changed since."
    )
    return joined(drift_of(host, entry), taken if entry.is_open and entry.ordered else "")


def drift_of(host: Declaration, entry: Entry) -> str:
    """In what a host owns something else than it declares now; empty where it does not.

    That is reported, and never repaired by a replacement.
    """
    price, limit = entry.price_per_hour, host.max_price_per_hour
    is_dearer = host.declared_max_price_per_hour is not None and price is not None and price > limit
    is_another = host.offer_id and entry.offer_id not in ("", host.offer_id)
    is_renamed = entry.name not in ("", host.name)
    differences = (
        mismatch_of_noted(host, entry),
        f"it costs {usd(price)}, and provision_max_price_per_hour is {usd(limit)}" if is_dearer else "",
        f"it was bought as {entry.name}, and provision_resource_name is {host.name}" if is_renamed else "",
        f"its offer is {entry.offer_id}, and provision_offer_id is {host.offer_id}" if is_another else "",
        _other_lease(host, entry),
    )
    message = "; ".join(filter(None, differences))
    return f"{host.host} owns something other than it declares: {message}. It stays as it is." if message else ""


def _other_lease(host: Declaration, entry: Entry) -> str:
    """That another lease is declared than the one that was fixed at the purchase; `8h` and `480m` are one."""
    with contextlib.suppress(ValueError):
        noted = lease.read_lease(entry.leased)
        if (noted.seconds, noted.moment) == (host.lease.seconds, host.lease.moment):
            return ""
    if host.by_name or entry.is_empty:
        return ""
    way_out = " (compute_index.supply.extend changes that)" if host.lease else ""
    has = f"its lease is {entry.leased}" if entry.leased else "it has no lease"
    return f"{has}, and provision_lease is {host.lease.text or 'empty'}{way_out}"
