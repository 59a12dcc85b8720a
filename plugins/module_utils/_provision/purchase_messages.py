# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a purchase says: what happened, what it means for money, and what to do next.

This module util is private to the collection.
"""

from __future__ import annotations

import typing as t

from .._wording import usd
from .sums import Sum

Machine = t.Mapping[str, t.Any]

NOTHING_BOUGHT = "Nothing was bought."
NOTHING_SENT = "Nothing was sent."
NO_REASON = "the API gives no reason"
AGAIN = "Run the same again later: it asks first and buys only this very offer, if it is still free."
SETTLED = "The offer's status says that it was bought."
_ADOPT = "If it is this host's, provision_adopt: true takes it; else set another resource_name."


def described(machines: t.Iterable[Machine], ids: t.Iterable[str] = ()) -> str:
    """Machines in a sentence, with names and prices; their mere ids if nothing else is known of them."""
    return "; ".join(map(_described, machines)) or ", ".join(ids) or "machines that the API does not list"


def _described(machine: Machine) -> str:
    name = f"called {machine['name']}" if machine["name"] else "without a name"
    return f"{machine['resource_id'] or 'a machine without an id'} ({name}, {usd(machine['price_per_hour'])})"


def billed(ids: t.Iterable[str]) -> str:
    """What a failed offer has left."""
    text = ", ".join(ids)
    return f"These resources may be billed nevertheless: {text}." if text else ""


def ended(text: object) -> str:
    """A sentence with one full stop at its end, whoever has written it."""
    return f"{str(text).rstrip('.')}."


# Nothing of ours comes of the offer


TWO_REGISTRIES = (
    "A purchase is noted in one registry: give registry_file or registry_url, which the environment variable"
    " COMPUTE_INDEX_REGISTRY_URL sets, too."
)


def claimed(claim: object, host: str) -> str:
    """Another purchase of this host is open."""
    return (
        f"{claim} {NOTHING_SENT} If another run for {host or 'this host'} is at work, let it end. Then run again: it"
        " goes on with that offer."
    )


def another_account(offer_id: str) -> str:
    """A host of the play has another token or API address than the one that was planned with."""
    return (
        f"Offer {offer_id} was planned with another token or api_url than this host has. All hosts of a play use one"
        f" account: set both for all of them. {NOTHING_SENT}"
    )


ACCOUNT_UNREAD = "So whether max_account_price_per_hour holds is not known."


def above(offer_id: str, price: float | None, ceiling: float) -> str:
    """The offer alone would cost more than was agreed to (USD per hour), or nobody knows."""
    if price is None:
        return f"The API names no price for offer {offer_id}, so it cannot be compared with max_price_per_hour."
    return f"Offer {offer_id} costs {usd(price)}, which is above max_price_per_hour ({usd(ceiling)})."


def above_account(offer_id: str, together: Sum, ceiling: float) -> str:
    """All machines of the account would cost more than was agreed to, with this one."""
    prices = f" and {together.unknown} unknown price(s)" if together.unknown else ""
    return (
        f"With offer {offer_id} all machines of the account would cost {usd(together.total)}{prices} together, and"
        f" max_account_price_per_hour is {usd(ceiling)}."
    )


def expired(offer_id: str) -> str:
    """It was free until a moment ago."""
    return f"Offer {offer_id} has expired; offers live 30 minutes. {NOTHING_BOUGHT} Search again."


def freed(offer_id: str, since: str) -> str:
    """A purchase that was never answered, and cannot be under way any more."""
    return (
        f"Offer {offer_id} has been gone since {since}, unbought, so the purchase that was never answered did not"
        f" happen. {NOTHING_BOUGHT} Search again."
    )


def taken(offer_id: str, name: str, machines: list[Machine], ids: list[str], refused: str) -> str:
    """Somebody else has the offer."""
    whose = f"no machine of it is called {name}, but {described(machines, ids)}" if machines or ids else ""
    return (
        f"{refused}Somebody else has bought offer {offer_id}: {whose or 'this account lists no machine of it'}."
        f" {NOTHING_BOUGHT} Search again."
    ).strip()


def refusal(error_class: str) -> str:
    """What a refusal of the purchase means, after the API's own words."""
    reasons = {
        "conflict": "Somebody else has bought the offer, or it is being bought.",
        "expired": "The offer has expired; search again.",
        "not_found": "The offer is gone; search again.",
        "auth": "Check api_token (COMPUTE_INDEX_API_TOKEN).",
    }
    return f"{reasons.get(error_class, '')} {NOTHING_BOUGHT}".strip()


def denied(offer_id: str, reason: str) -> str:
    """A refusal in an answer that looks like a success."""
    return f"The API did not sell offer {offer_id}: {ended(reason)} {NOTHING_BOUGHT}"


# Nobody knows


def silent(offer_id: str, said: object, asked: object, objection: str, price: float | None) -> str:
    """Sent, not answered, and nobody knows more."""
    again = f" It was not sent again: {ended(objection)}" if objection else ""
    return (
        f"The purchase of offer {offer_id} was sent, but its outcome is not known: {said} Asked afterwards:"
        f" {ended(asked)}{again} It MAY BE BOUGHT and billed at {usd(price)}. Do not buy another offer instead. {AGAIN}"
    )


def lately(offer_id: str, until: str) -> str:
    """Sent, not answered, and gone."""
    return (
        f"The purchase of offer {offer_id} was sent and not answered, and the offer is gone now, unbought as far as the"
        f" API says. The purchase may still be under way, and MAY BE BILLED. Do not buy another offer instead."
        f" Run the same again after {until}: if it is still unbought then, another offer may be bought."
    )


def unproven(offer_id: str, name: str, machines: list[Machine], ids: list[str], refused: str) -> str:
    """A machine has our name, and no purchase of ours was unanswered."""
    return (
        f"{refused}Offer {offer_id} is bought, and its machine is called {name}: {described(machines, ids)}. But no"
        " purchase of this host is without an answer, so it is another project's, or a gateway sent a refused request"
        f" twice. It MAY BE BILLED for this host. Nothing else was bought. {_ADOPT}"
    ).strip()


def another(offer_id: str, name: str, machines: list[Machine], ids: list[str]) -> str:
    """A machine has another name, and a purchase of ours was not answered."""
    return (
        f"The purchase of offer {offer_id} was sent and not answered. The offer is bought, but no machine of it is"
        f" called {name}: {described(machines, ids)}. Somebody else was faster, or the API does not keep names and it"
        f" is this host's: it MAY BE BILLED. Nothing else was bought. {_ADOPT}"
    )


def nameless(offer_id: str, ids: list[str], price: float | None, unlisted: object) -> str:
    """Bought, and no machine shows its name."""
    why = f" {unlisted}" if unlisted else ""
    return (
        f"Offer {offer_id} is bought, but by whom is not known: none of its machines shows a name yet"
        f" ({', '.join(ids) or 'no id is known either'}).{why} It MAY BE THIS HOST'S and billed at {usd(price)}."
        " Do not buy another offer instead. Run the same again later, or see in the list of resources whose it is."
        f" {_ADOPT}"
    )


def contradicted(offer_id: str, where: str | None, ids: list[str], said: object) -> str:
    """Known to be made, and the API says that it was not."""
    known = f"{where} says" if where else "The API itself said"
    return (
        f"{known} that offer {offer_id} was bought ({', '.join(ids) or 'no id is noted'}). Asked now: {ended(said)}"
        " It MAY BE BILLED all the same. Nothing was sent now. Does api_token belong to the account that bought it?"
    )


def unreadable(offer_id: str, where: str, said: object) -> str:
    """The registry says that something may be bought, and the API cannot be asked."""
    return (
        f"{said} {where} says that offer {offer_id} is bought, or that a purchase of it was sent: it MAY BE BILLED."
        f" Nothing was sent now. {AGAIN}"
    )


def unlisted(offer_id: str, reason: str | None, said: object) -> str:
    """Failed, and nobody can say what is left of it."""
    return (
        f"Offer {offer_id} failed: {ended(reason or NO_REASON)} It MAY BE BILLED nevertheless, since its resources"
        f" cannot be listed: {said} {AGAIN}"
    )


# Bought, and yet a failure


def not_noted(offer_id: str, price: float | None, ids: list[str], said: object) -> str:
    """The registry could not be written after the purchase."""
    return (
        f"Offer {offer_id} was BOUGHT and is billed at {usd(price)}, resources: {', '.join(ids) or 'not known yet'}."
        f" But that could not be noted: {said} Repair the registry, and run the same again: it buys nothing twice."
    )


def odd_ids(offer_id: str, price: float | None, ids: list[str], odd: list[str]) -> str:
    """The API's answer names machines by what is no id."""
    return (
        f"Offer {offer_id} was BOUGHT and is billed at {usd(price)}, resources: {', '.join(ids) or 'no id is known'}."
        f" The API also names what is no id, and is not used: {', '.join(map(repr, odd))}. See what it is with"
        " compute_index.supply.resource_info."
    )


def orphaned(offer_id: str) -> str:
    """Ansible was killed while this process went on."""
    return f"Ansible itself has ended, so the purchase of offer {offer_id} was not sent (any more)."
