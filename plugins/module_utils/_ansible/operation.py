# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operation: a plain function ``(params, check_mode) -> result`` that is independent of Ansible, and its options.

`on_api` makes an operation of a function that needs the API's client.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import re
import sys
import typing as t
from dataclasses import dataclass, field
from urllib.parse import unquote

from ansible.module_utils import ansible_release

from .. import _spec
from .._api import http
from .._api.client import USER_AGENT, ApiError, SupplyApi
from .._api.recorder import LOG, recording_observer
from .._text import COLUMNS, UUID, mask_secrets, printable, wrapped

try:
    from ansible.module_utils.secrets import register_secrets
except ImportError:  # before 2.22
    register_secrets = None

Params = t.Mapping[str, t.Any]
Result = dict[str, t.Any]
Spec = t.Mapping[str, t.Mapping[str, t.Any]]
Checked = t.TypeVar("Checked")
Api = t.TypeVar("Api", bound=SupplyApi)

ADVICE = {
    "auth": "Check api_token (COMPUTE_INDEX_API_TOKEN) and that it belongs to api_url.",
    "unavailable": "Try again later; check api_url, the network and proxies.",
}

# Parameters in addition to the options
AS_MODULE = "_as_module"  # true in a module's process, which does not notice the end of ansible-playbook
SHOW_PROGRESS = "_show_progress"  # a function for sentences about the progress of a wait; modules have no such output

CENSORED = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"  # ansible-core's own word
_SHORTEST = 3  # characters of a secret; shorter ones would garble every message
_MARK = "[WARNING]: "  # Ansible's prefix of a warning
# Ansible would show our indentation between words.
_FOLDS_WARNINGS = ansible_release.__version__.startswith(("2.16.", "2.17.", "2.18."))


class Failure(Exception):
    """A failure for the user. ``facts``: further fields of the result, above all ids that may be billed."""

    def __init__(self, msg: str, error_class: str, /, **facts: t.Any) -> None:
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
        """Make a Failure of an API error. ``advice``: what it means for costs, or what to do next."""
        return cls(
            f"{error}{' ' + advice if advice else ''}",
            error.error_class,
            **{"status_code": error.status_code, "retry_after": error.retry_after, **facts},
        )


def checked_option(
    option: str, value: t.Any, check: t.Callable[[t.Any], Checked], error_class: str = "invalid"
) -> Checked:
    """The checked value of an option. Raises a Failure that names the option."""
    try:
        return check(value)
    except ValueError as error:
        stop = "" if str(error).endswith(("?", ".")) else "."
        raise Failure(f"{option} {error}{stop} Nothing was sent.", error_class) from None


# Checks of values before any request is sent. Each raises ValueError with the reason for people.


def check_uuid(value: str) -> str:
    """The id in the API's spelling: lower case, with dashes."""
    text = value.strip().lower()
    if not UUID.fullmatch(text):
        raise ValueError(f"must be a UUID such as 123e4567-e89b-12d3-a456-426614174000, not '{printable(value, 60)}'")
    return text


def check_token(value: str | None) -> str:
    """The API token without surrounding white space, which files and copied texts often have."""
    token = (value or "").strip()
    if not token:
        raise ValueError("is missing: set the environment variable COMPUTE_INDEX_API_TOKEN, or this option")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ValueError("holds a space or a character that no HTTP header may carry")
    return token


def _check_of(what: str, least: float, most: float = sys.float_info.max) -> t.Callable[[t.Any], t.Any]:
    """Return a check that a number is within limits; it accepts None."""

    def check(value: float | None) -> float | None:
        if value is not None and not least <= value <= most:
            raise ValueError(f"must be {what}, not {value:g}")
        return value

    return check


check_seconds: t.Callable[[float], float] = _check_of("a number of seconds, at least 0", 0)
# At most a day, since sockets do not accept arbitrary timeouts
check_timeout: t.Callable[[float], float] = _check_of("a number of seconds, at least 1 and at most 86400", 1, 86_400)
check_price: t.Callable[[float | None], float | None] = _check_of("USD per hour for the whole offer, at least 0", 0)
check_limit: t.Callable[[int | None], int | None] = _check_of("at least 1", 1)


@contextlib.contextmanager
def refusing(
    errors: type[ValueError], advice: str = "", /, *, error_class: str = "", **facts: t.Any
) -> t.Iterator[None]:
    """Turn such errors into a Failure. ``advice``: what they mean for costs, or what to do next.

    The failure's class is ``error_class``, else the error's own (RegistryError has one), else ``invalid``.
    """
    try:
        yield
    except errors as error:
        named = error_class or getattr(error, "error_class", "invalid")
        raise Failure(f"{error}{' ' + advice if advice else ''}", named, **facts) from None


def folded_warning(warning: str) -> str:
    """Fold a warning to the width of a terminal, unless Ansible does so, which it stopped in 2.19."""
    if _FOLDS_WARNINGS:
        return warning
    return "\n".join(wrapped(f"{_MARK}{warning}", COLUMNS, "    ")).removeprefix(_MARK)


@dataclass(frozen=True)
class Operation:
    """An operation of a module or of a step of `decide`: its function and its options.

    ``blank``: fields of every result, even if the function never ran; an ``until`` that misses one hides the error.
    ``rules``: further arguments of AnsibleModule, such as ``mutually_exclusive``. ``doubt``: a sentence about the
    possible effects of a bug, for operations that change something at the API.
    """

    function: t.Callable[[Params, bool], Result]
    argument_spec: dict[str, dict[str, t.Any]]
    blank: Result = field(default_factory=dict)
    rules: dict[str, t.Any] = field(default_factory=dict)
    doubt: str = ""

    def perform(self, params: Params, check_mode: bool) -> Result:
        """The result for ``params``; a failure is a result with ``failed``."""
        try:
            return self.function(params, check_mode)
        except Failure as failure:
            return self._complete(failure.result)
        except Exception as error:  # Ansible would print the options of an uncaught one, also secrets
            # Without the error's text, which may contain anything, and without a claim about what was done
            bug = f"This is a bug of the collection: {type(error).__name__} in {self.function.__name__}."
            return self._in_doubt(bug, params)

    def refused(self, msg: str) -> Result:
        """The result for invalid options."""
        return self._complete(Failure(msg, "invalid").result)

    def cut_off(self) -> Result:
        """The result for a process that ended without a result."""
        return self._in_doubt(f"The process that performed {self.function.__name__} has ended without a result.", {})

    def _complete(self, failure: Result) -> Result:
        return {**copy.deepcopy(self.blank), **failure}

    def _in_doubt(self, msg: str, params: Params) -> Result:
        """The result if it is not known whether something was changed."""
        if not self.doubt:
            return self._complete(Failure(msg, "protocol").result)
        facts = {name: params[name] for name in self.blank if name in params}
        if "outcome" in self.blank:
            facts["outcome"] = "unknown"
        return self._complete(Failure(f"{msg} {self.doubt}", "unknown_outcome", **{**facts, "changed": True}).result)


# Operations with the API's client


def on_api(
    api: type[Api],
    function: t.Callable[[Api, Params, bool], Result],
    argument_spec: _spec.Spec,
    blank: Result | None = None,
    rules: dict[str, t.Any] | None = None,
    doubt: str = "",
    outcome: str = "",
) -> Operation:
    """Make an operation of a function ``(api, params, check_mode) -> result``, and add the common options.

    ``outcome``: a sentence about the consequences if the API fails.
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
    """Create the client from the common options, without sending anything. Raises Failure."""
    if http.REQUESTS_IMPORT_ERROR is not None:
        raise Failure(f"{http.MISSING_REQUESTS} Nothing was sent.", "invalid")
    ca_path = params.get("ca_path")
    if ca_path and not os.path.exists(ca_path):
        raise Failure(f"ca_path: there is no file or folder '{ca_path}'. Nothing was sent.", "invalid")
    http_client = _client(
        os.getpid(),  # a connection must not be shared with a forked process
        checked_option("api_url", params["api_url"], http.check_base_url),
        checked_option("api_token", params["api_token"], check_token, "auth"),
        checked_option("api_timeout", params["api_timeout"], check_timeout),
        max(0, params["api_retries"]),
        (ca_path or True) if params["validate_certs"] else False,
    )
    file = os.environ.get(LOG)
    http_client.observer = recording_observer(file, http_client.redact) if file else None
    return api(http_client, read_only=check_mode)


@functools.lru_cache(maxsize=4)
def _client(pid: int, url: str, token: str, timeout: float, retries: int, verify: bool | str) -> http.HttpClient:
    """A client with an open session, which the items of a loop and the retries of an ``until`` share."""
    return http.HttpClient(url, token, USER_AGENT, timeout=timeout, retries=retries, verify=verify)


def is_awx_job() -> bool:
    """Whether this run is a job of AWX, by the variables that AWX sets in its environment."""
    return all(os.environ.get(name) for name in ("AWX_HOST", "JOB_ID"))


# Results without secrets. Until ansible-core 2.21, modules remove secrets from their results. From 2.22 on, only output
# is masked; but registered results may end up in facts, statistics and files. So we remove secrets from our results on
# every version, and register secrets with core that are not values of options.


def secrets_of(spec: Spec, params: t.Mapping[str, t.Any]) -> set[str]:
    """The values of ``no_log`` options and their secret parts, which core masks from now on."""
    return mask_in_output(
        str(params[name]) for name, option in spec.items() if option.get("no_log") and params.get(name)
    )


def mask_in_output(values: t.Iterable[str]) -> set[str]:
    """Have core mask secrets and their secret parts in its output; returns all of them.

    Also in lower case: we convert words and ids of the API, and a server may echo a secret in their place.
    """
    whole = set(values)
    parts = whole.union(*map(_parts, whole))
    secrets = {value for value in {*parts, *map(str.lower, parts)} if len(value.strip()) >= _SHORTEST}
    if register_secrets:
        register_secrets(secrets)
    return secrets


def _parts(value: str) -> t.Iterator[str]:
    """The parts of a secret that are secret on their own: the password in a URL, and each line of a private key."""
    if "\n" not in value:
        # As written in the URL, and decoded
        passwords = re.findall(r"://[^:/@]*:([^/?#]+)@", value)
        yield from (*passwords, *map(unquote, passwords))
    keys = re.findall(r"-----BEGIN[^-\n]*PRIVATE KEY-----\s(.*?)(?=-----END|\Z)", value, re.DOTALL)
    yield from filter(None, (line.strip() for key in keys for line in key.splitlines()))


def without_secrets(result: Result, secrets: t.Collection[str]) -> Result:
    """Remove the secrets from a result. Booleans stay, as in AnsibleModule, even if a secret is the word True."""
    if not secrets:
        return result
    longest_first = sorted(secrets, key=len, reverse=True)
    return {
        name: value if value is None or isinstance(value, bool) else _censored(value, longest_first)
        for name, value in result.items()
    }


def _censored(value: t.Any, secrets: t.Sequence[str]) -> t.Any:
    """Remove the secrets from a part of a result, as ansible-core's own modules do."""
    if isinstance(value, t.Mapping):
        return {key: _censored(part, secrets) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_censored(part, secrets) for part in value]
    text = str(value)
    if text in secrets:
        return CENSORED
    if isinstance(value, str):
        return mask_secrets(text, secrets)
    return CENSORED if any(secret in text for secret in secrets) else value
