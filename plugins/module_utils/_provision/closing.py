# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines with which plays end: what runs, its price (USD per hour), where that is kept, and what to type next."""

from __future__ import annotations

import typing as t

from .._text import number_of
from .._wording import LINE, end_option, line, narrow_table, ranges, usd, wrapped
from .messages import ids_of, in_short, joined
from .rounds import Common

Row = t.Mapping[str, t.Any]  # see `registration.row`


def lines(rows: t.Sequence[Row], common: Common) -> list[str]:
    """The lines for ``rows``: what the hosts of the play own that is known to run. Prices are in USD per hour."""
    hosts = [str(row["host"]) for row in rows]
    would = f"Without --check this buys {common.would}." if common.would else ""
    return [
        *_table(rows, common.columns),
        *wrapped(would, indent="  "),
        *wrapped(common.registry, indent="  "),
        *_end(hosts),
        *(f"{login} {host}" for login in common.logins for host in hosts[:1]),
    ]


def configured(hosts: t.Sequence[str], rows: t.Sequence[Row], common: Common) -> list[str]:
    """The lines for ``hosts`` that were configured; ``rows`` and ``common`` as far as this play knows them."""
    prices = [number_of(row["price_per_hour"]) for row in rows]
    is_known = len(rows) == len(hosts) and None not in prices
    costs = f", {usd(sum(filter(None, prices)))}{' in total' if len(rows) > 1 else ''}" if is_known else ""
    logins = [f"{login} {row['host']}" for login in common.logins for row in rows[:1]]
    return [
        *wrapped(f"Configured: {', '.join(ranges(hosts))}{costs}", indent="  "),
        *(logins or [str(row["ssh"]) for row in rows[:1]]),
    ]


def _table(rows: t.Sequence[Row], columns: t.Mapping[str, str]) -> list[str]:
    """A line for each host, and one for all of them; a host alone has a single line if that is short enough."""
    alone = line(rows[0], columns) if len(rows) == 1 else ""
    if alone and len(alone) <= LINE:
        return [alone]
    shorten = [title for title in ("host", "address") if title in columns]
    return narrow_table([*rows, *_sum(rows)], columns, LINE, shorten)


def _sum(rows: t.Sequence[Row]) -> list[Row]:
    """The row below several hosts. What is unknown is in no sum."""
    prices = [number_of(row["price_per_hour"]) for row in rows]
    bills = [number_of(row["at_most"]) for row in rows]
    most = None if None in bills else sum(filter(None, bills))
    return [{"host": "in total", "price_per_hour": sum(filter(None, prices)), "at_most": most}] if len(rows) > 1 else []


def _end(hosts: t.Sequence[str]) -> list[str]:
    """How the machines are ended."""
    if not hosts:
        return []
    option = f"  {end_option(hosts)}"
    if len(option) > LINE:
        option = "  -e decommission_hosts=<host>"
    return [f"To end {'them' if len(hosts) > 1 else 'it'}: compute_index.supply.decommission", option]


def unusable(host: str, plan: t.Mapping[str, t.Any], failure: t.Mapping[str, t.Any]) -> str:
    """Why a host cannot use its machine, and what that costs.

    ``failure``: its ``cause``, which Ansible has shown as a whole; ``other_key`` (another host key answers),
    ``price_per_hour`` (USD), ``resource_ids``, and what became of it if it was ``given_back``.
    """
    other_key = failure["other_key"] in (True, "True")  # what ansible-core before 2.19 makes of it
    unknown = (
        f"Its address answers with a host key that is not the one pinned in {plan['known_hosts_file']}. Someone may be"
        " in between, or the address belongs to another machine. Ask the vendor; if the new key is right, remove that"
        " file and run again."
    )
    is_given_back = plan["may_release"] and not other_key
    return joined(
        f"{host} cannot be used:",
        in_short(failure["cause"]),
        unknown if other_key else "",
        plan["spared"],
        failure["given_back"] if is_given_back else _billed(host, failure["price_per_hour"], failure["resource_ids"]),
    )


def _billed(host: str, price: t.Any, ids: t.Iterable[str]) -> str:
    """A machine that is there, and that nothing can be done with."""
    return (
        f"It is BOUGHT and billed at {usd(number_of(price))}. Resource ids: {ids_of(ids)}. Run again to continue, or"
        f" end it: compute_index.supply.decommission {end_option([host])} (in AWX: GPU decommission)."
    )
