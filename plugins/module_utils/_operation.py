# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module is: a plain function ``(api, params, check_mode) -> result`` that knows no Ansible, and its options.

This module util is private to the collection.
"""

from __future__ import annotations

import copy
import os
import typing as t
from dataclasses import dataclass, field

from . import _http, _input
from ._api import USER_AGENT, ApiError, SupplyApi

Params = t.Mapping[str, t.Any]
Result = dict[str, t.Any]
Checked = t.TypeVar("Checked")


class Failure(Exception):
    """A failure as the user sees it; ``facts`` are further fields of the result, above all ids that may be billing."""

    def __init__(self, msg: str, error_class: str, **facts: t.Any) -> None:
        super().__init__(msg)
        self.result: Result = {
            "changed": False,
            "status_code": None,
            **facts,
            "failed": True,
            "msg": msg,
            "error_class": error_class,
        }

    @classmethod
    def of(cls, error: ApiError, advice: str = "", **facts: t.Any) -> Failure:
        """The failure of an API error, with what it means for money or what to do next."""
        return cls(
            f"{error}{' ' + advice if advice else ''}",
            error.error_class,
            **{"status_code": error.status_code, "retry_after": error.retry_after, **facts},
        )


def given(option: str, value: t.Any, check: t.Callable[[t.Any], Checked]) -> Checked:
    """The checked value of an option. Raises Failure (invalid) that names the option."""
    try:
        return check(value)
    except ValueError as error:
        raise Failure(f"{option} {error}. Nothing was sent.", "invalid") from None


@dataclass(frozen=True)
class Operation:
    """What a module is: its options in Ansible's terms, and the function that does the work.

    ``blank`` holds the fields that a result has even if the function never ran: an ``until`` that misses one of them
    hides the error. ``rules`` are AnsibleModule's own (``mutually_exclusive`` and the like).
    """

    function: t.Callable[[SupplyApi, Params, bool], Result]
    argument_spec: dict[str, dict[str, t.Any]]
    blank: Result = field(default_factory=dict)
    rules: dict[str, t.Any] = field(default_factory=dict)

    def perform(self, params: Params, check_mode: bool) -> Result:
        """The result for ``params``, the common API options among them; a failure is a result with ``failed``."""
        try:
            return self.function(_connect(params, check_mode), params, check_mode)
        except Failure as failure:
            return self._complete(failure.result)
        except ApiError as error:
            return self._complete(Failure.of(error, _ADVICE.get(error.error_class, "")).result)
        except Exception as error:  # Ansible would print the options of an uncaught one, secrets too
            return self._complete(self._bug(error, params))

    def without_library(self, msg: str) -> Result:
        """The result where the HTTP library is missing."""
        return self._complete(Failure(msg, "invalid").result)

    def _complete(self, failure: Result) -> Result:
        return {**copy.deepcopy(self.blank), **failure}

    def _bug(self, error: Exception, params: Params) -> Result:
        """A fault of ours. No word of the error's text, which may hold anything, and no claim about a purchase."""
        msg = f"This is a bug of the collection: {type(error).__name__} in {self.function.__name__}."
        if "outcome" not in self.blank:
            return Failure(msg, "protocol").result
        msg += " The purchase may have been sent. Run the same again: it asks the API first and buys nothing twice."
        return Failure(msg, "unknown_outcome", outcome="unknown", offer_id=params["offer_id"], changed=True).result


_ADVICE = {
    "auth": "Check api_token (COMPUTE_INDEX_API_TOKEN) and that it belongs to api_url.",
    "unavailable": "Try again later; check api_url, the network and proxies.",
}


def _connect(params: Params, check_mode: bool) -> SupplyApi:
    """The client of the common options. Nothing is sent yet."""
    ca_path = params.get("ca_path")
    if ca_path and not os.path.exists(ca_path):
        raise Failure(f"ca_path: there is no file or folder '{ca_path}'. Nothing was sent.", "invalid")
    http = _http.HttpClient(
        given("api_url", params["api_url"], _http.check_base_url),
        given("api_token", params["api_token"], _input.check_token),
        USER_AGENT,
        timeout=given("api_timeout", params["api_timeout"], _input.check_timeout),
        retries=max(0, params["api_retries"]),
        verify=(ca_path or True) if params["validate_certs"] else False,
    )
    return SupplyApi(http, read_only=check_mode)
