# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets among a task's options: what they are, and results without them.

Until ansible-core 2.21 a module's results lose them before they are sent. From 2.22 on results keep them, so that tasks
can use them, and only output is masked; but what a task registers may end up in facts, statistics and files. So our
results lose them here, on every version, and core is told of secrets that it does not find in the options itself.
"""

from __future__ import annotations

import typing as t
from urllib.parse import unquote, urlsplit

try:
    from ansible.module_utils.secrets import register_secrets
except ImportError:  # before 2.22
    register_secrets = None

if t.TYPE_CHECKING:
    from .operation import Result

CENSORED = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"  # the word of ansible-core's own modules
_SHORTEST = 3  # characters; a shorter secret would only garble every message

Spec = t.Mapping[str, t.Mapping[str, t.Any]]


def secrets_of(spec: Spec, params: t.Mapping[str, t.Any]) -> set[str]:
    """The values of options that must not be shown, and what is secret in them; core masks them from now on."""
    return masked(str(params[name]) for name, option in spec.items() if option.get("no_log") and params.get(name))


def masked(values: t.Iterable[str]) -> set[str]:
    """Secret values with their secret parts, such as templated options of an inventory plugin; core masks them, too.

    In small letters as well: words and ids of the API are kept so, and a server may echo a secret in their place.
    """
    whole = set(values)
    parts = whole.union(*map(_parts, whole))
    secrets = {value for value in {*parts, *map(str.lower, parts)} if len(value.strip()) >= _SHORTEST}
    if register_secrets:
        register_secrets(secrets)
    return secrets


def _parts(value: str) -> t.Iterator[str]:
    """The parts that are secret by themselves: the password in an address, and each line of a private key."""
    if value.count("\n") == 0 and "://" in value:
        yield from _passwords(value)
    is_key = False
    for line in map(str.strip, value.splitlines()):
        is_key = ("PRIVATE KEY-----" in line and "-----BEGIN" in line) or (is_key and "-----END" not in line)
        if is_key and "-----" not in line and line:
            yield line


def _passwords(url: str) -> t.Iterator[str]:
    """The password in an address, as it is written there and as the server gets it."""
    try:
        password = urlsplit(url).password
    except ValueError:  # no address
        return
    if password:
        yield from {password, unquote(password)}


def without_secrets(result: Result, secrets: t.Collection[str]) -> Result:
    """The result without secrets. Booleans stay, even if a secret is the word True, as AnsibleModule did it."""
    if not secrets:
        return result
    longest_first = sorted(secrets, key=len, reverse=True)
    return {
        name: value if value is None or isinstance(value, bool) else _censored(value, longest_first)
        for name, value in result.items()
    }


def _censored(value: t.Any, secrets: t.Sequence[str]) -> t.Any:
    """A part of a result without secrets, in the words of ansible-core's own modules."""
    if isinstance(value, t.Mapping):
        return {key: _censored(part, secrets) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_censored(part, secrets) for part in value]
    text = str(value)
    if text in secrets:
        return CENSORED
    if isinstance(value, str):
        return _without(text, secrets)
    return CENSORED if any(secret in text for secret in secrets) else value


def _without(text: str, secrets: t.Iterable[str]) -> str:
    """The text with stars in place of the secrets."""
    for secret in secrets:
        text = text.replace(secret, "********")
    return text
