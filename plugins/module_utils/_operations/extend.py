# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extend the leases of machines. Only the registry is read and written, not the API."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import replace

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result
from .._provision import extending
from .._provision.entry import read_entry
from .._provision.spending import Ledger
from .._registry._protocol import Registry, retry_if_changed
from .._text import grouped, joined
from ._registries import LastSweeps, Registries

BLANK: Result = {"changed": False, "lines": [], "trouble": "", "extended": []}


def extend(params: Params, check_mode: bool) -> Result:
    """Move the end of each host's lease. ``trouble`` says for which hosts that failed, and why."""
    try:
        request = extending.read_time_request(params["by"], params["until"])
    except ValueError as error:
        raise Failure(f"{error}. Nothing was extended.", "invalid", **BLANK) from None
    with Registries.of(params, read_only=check_mode) as registries:
        extensions: dict[str, extending.Extension] = {}
        trouble, places = list(params["troubles"]), registries.places(params)
        spent, named = _spent(registries, params), {raw["host"] for raw in params["hosts"]}
        for raw in params["hosts"]:
            host = raw["host"]
            try:
                registry = registries.at(places[host]).host(host)
                limited = extending.with_limits(request, raw, places[host].entry_file(host))
                why_above_budget = functools.partial(extending.why_above_budget, limited, raw, named, extensions, spent)
                extensions[host] = _extended(registry, limited, why_above_budget, check_mode)
            except ValueError as error:
                trouble.append(f"{host}: {error}")
        return {
            "changed": any(item.end != item.before for item in extensions.values()),
            "lines": extending.extension_lines(extensions),
            "trouble": joined(*dict.fromkeys(trouble)),
            "extended": extending.extension_rows(extensions),
            "warnings": LastSweeps(registries).warnings(places[host] for host in extensions),
        }


def _spent(registries: Registries, params: Params) -> t.Callable[[str], Ledger]:
    """Return a function that reads the ledger of a project, of all its places, once."""
    rows, untold = [*params["hosts"], *params["elsewhere"]], joined(*params["untold"])
    places = grouped((raw["project"], registries.place(raw, params)) for raw in rows)
    return functools.cache(lambda project: replace(registries.ledger(places[project]), unreadable=untold))


def _extended(
    registry: Registry | None,
    request: extending.TimeRequest,
    why_above_budget: t.Callable[[float, float], str],
    check_mode: bool,
) -> extending.Extension:
    """Note and return the extension. If another run changes the entry meanwhile, decide again.

    Raises ValueError, of which RegistryError is a subclass.
    """
    if registry is None:
        raise ValueError(extending.NO_REGISTRY_TO_EXTEND)

    def step() -> extending.Extension:
        found = extending.extension_of(read_entry(registry.read()), request, registry.clock(), why_above_budget)
        if not check_mode:
            registry.compare_and_set(extending.variables_of_extension(found))
        return found

    return retry_if_changed(step)


EXTEND = steps.operation(extend, steps.EXTEND, BLANK)
