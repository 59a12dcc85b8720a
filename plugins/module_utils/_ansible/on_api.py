# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations that ask the API: they get its client beside the options."""

from __future__ import annotations

import functools
import os
import typing as t

from .. import _spec
from .._api import http
from .._api.client import USER_AGENT, ApiError, SupplyApi
from .._api.recorder import LOG, observer_of
from .operation import Failure, Operation, Params, Result, given

ADVICE = {
    "auth": "Check api_token (COMPUTE_INDEX_API_TOKEN) and that it belongs to api_url.",
    "unavailable": "Try again later; check api_url, the network and proxies.",
}


Api = t.TypeVar("Api", bound=SupplyApi)


def on_api(
    api: type[Api],
    function: t.Callable[[Api, Params, bool], Result],
    argument_spec: _spec.Spec,
    blank: Result | None = None,
    rules: dict[str, t.Any] | None = None,
    doubt: str = "",
    outcome: str = "",
) -> Operation:
    """The operation of a function ``(api, params, check_mode) -> result``, with the common options beside its own.

    ``outcome``: what follows if the API fails, in a sentence.
    """

    @functools.wraps(function)
    def connected(params: Params, check_mode: bool) -> Result:
        try:
            return function(_connect(api, params, check_mode), params, check_mode)
        except ApiError as error:
            advice = filter(None, (ADVICE.get(error.error_class, ""), outcome))
            raise Failure.of(error, " ".join(advice)) from None

    return Operation(connected, {**_spec.API, **argument_spec}, blank or {}, rules or {}, doubt)


def _connect(api: type[Api], params: Params, check_mode: bool) -> Api:
    """The client of the common options. Nothing is sent yet."""
    if http.REQUESTS_IMPORT_ERROR is not None:
        raise Failure(f"{http.MISSING_REQUESTS} Nothing was sent.", "invalid")
    ca_path = params.get("ca_path")
    if ca_path and not os.path.exists(ca_path):
        raise Failure(f"ca_path: there is no file or folder '{ca_path}'. Nothing was sent.", "invalid")
    http_client = _client(
        # A connection that was opened before a fork must not be used on both sides of it.
        os.getpid(),
        given("api_url", params["api_url"], http.check_base_url),
        given("api_token", params["api_token"], _spec.check_token, "auth"),
        given("api_timeout", params["api_timeout"], _spec.check_timeout),
        max(0, params["api_retries"]),
        (ca_path or True) if params["validate_certs"] else False,
    )
    file = os.environ.get(LOG)
    http_client.observer = observer_of(file, http_client.redact) if file else None
    return api(http_client, read_only=check_mode)


@functools.lru_cache(maxsize=4)
def _client(pid: int, url: str, token: str, timeout: float, retries: int, verify: bool | str) -> http.HttpClient:
    """The client with an open session, kept for the items of a loop and the looks of an ``until``."""
    return http.HttpClient(url, token, USER_AGENT, timeout=timeout, retries=retries, verify=verify)
