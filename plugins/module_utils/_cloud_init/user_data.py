# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks user data (cloud-init) before a purchase.

Rules of the API page "procure offer": user data begins with ``#cloud-config`` or ``#!/`` and has at most 64 KB. In a
cloud-config, we also check the types of common keys; cloud-init itself checks the rest on the machine.
"""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterator

from .schema import KEYS

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

MOST_BYTES = 65_536

# The types that cloud-init expects for common keys. At a wrong type it stops ("must"), or guesses, or ignores the key.
_KINDS: tuple[tuple[str, tuple[type, ...], str], ...] = (
    ("must be a list", (list,), "bootcmd mounts runcmd ssh_authorized_keys write_files"),
    ("must be a mapping", (dict,), "apt ca_certs chpasswd ssh_keys"),
    ("must be a mapping", (dict, type(None)), "ntp snap"),
    ("must be a list, a mapping or text", (list, dict, str), "groups"),
    ("must be text", (str,), "hostname timezone"),
    ("should be a list", (list,), "packages ssh_import_id"),
    ("should be a mapping", (dict,), "growpart swap"),
    ("should be a mapping", (dict, type(None)), "power_state"),
    ("should be a list, a mapping or text", (list, dict, str), "users"),
    ("should be text", (str,), "final_message fqdn"),
    ("should be text, true or false", (str, bool), "locale ssh_pwauth"),
    ("should be true or false", (bool,), "disable_root package_update package_upgrade preserve_hostname"),
)

# The key with the machine's own host keys, and the indented or blank lines below it. Private keys are expected there.
_HOST_KEYS = re.compile(r"""^["']?ssh_keys["']?:.*(?:\n(?:[ \t].*)?$)*""", re.MULTILINE)
_PRIVATE_KEY = re.compile("-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
# Prefixes of tokens of GitHub, GitLab, Hugging Face, Slack, Tailscale and AWS
_TOKEN = re.compile(
    r"\b(?:gh[oprsu]_|github_pat_|gl[a-z]{2,6}-|hf_|xox[a-z]-|tskey-[a-z]{3,10}-)[A-Za-z0-9_-]{10}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
)


def completed(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Complete a cloud-config, ready for YAML: add what its parts need, and leave out empty values."""
    mounts = config.get("mounts") or []
    # A mount without a folder, such as [swap], removes an entry of the vendor.
    folders = tuple(f"{folder}/" for mount in mounts for folder in mount[1:2])

    def deferred_if_needed(file: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
        # cloud-init writes files before it mounts and before it makes users.
        late = str(file.get("owner", "root")) not in ("root", "root:root") or str(file.get("path")).startswith(folders)
        return {"defer": True, **file} if late else file

    users = config.get("users")
    found = {
        "package_update": bool(config.get("packages")),
        **config,
        "hostname": str(config.get("hostname") or ""),
        "users": ["default", *users] if users else [],
        "write_files": [deferred_if_needed(file) for file in config.get("write_files") or []],
    }
    return {key: value for key, value in found.items() if value}


def check_user_data(text: str) -> list[str]:
    """Return warnings about probable mistakes in user data. Raises ValueError if it cannot work.

    Since user data may contain secrets, messages only contain line numbers, and keys that are plain words.
    """
    is_config = text.partition("\n")[0].rstrip() == "#cloud-config"
    if not is_config and not text.startswith("#!/"):
        raise ValueError("must begin with a line '#cloud-config' or with '#!/', and nothing before it")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise ValueError(f"is {size} bytes long; the API takes at most {MOST_BYTES} bytes")
    return [*_warnings(text), *(_doubts(text) if is_config else ())]


def _warnings(text: str) -> Iterator[str]:
    """A warning for each kind of probable mistake, with the number of its first line."""
    lines = _HOST_KEYS.sub(lambda found: "\n" * found[0].count("\n"), text).splitlines()
    secret = "seems to hold a {} in line {{}}. Every process of the machine, and the vendor, can read it."
    for doubt, advice in (
        (_is_template, "holds template marks in line {}; they reach the machine as they are."),
        (_TOKEN.search, secret.format("token")),
        (_PRIVATE_KEY.search, secret.format("private key")),
    ):
        number = next((number for number, line in enumerate(lines, 1) if doubt(line)), None)
        if number is not None:
            yield f"cloud_init {advice.format(number)}"


def _is_template(line: str) -> bool:
    return ("{{" in line and "}}" in line) or ("{%" in line and "%}" in line)


def _doubts(text: str) -> Iterator[str]:
    """Warnings about keys and values of a cloud-config. Raises ValueError if cloud-init would not accept it."""
    document = _read(text) if yaml else None
    if document is not None and not isinstance(document, dict):
        raise ValueError("must be a YAML mapping below its first line")
    config = document or {}
    yield from _unknown_keys(config)
    for demand, kinds, keys in _KINDS:
        for key in keys.split():
            if not isinstance(config.get(key, kinds[0]()), kinds):
                if demand.startswith("must"):
                    raise ValueError(f"{key} {demand}")
                yield f"cloud_init may not work as intended: {key} {demand}."


def _unknown_keys(document: dict[t.Any, t.Any]) -> Iterator[str]:
    """A warning for each key at the top that cloud-init does not know."""
    for key in map(str, document):
        if key not in KEYS:
            name = f" {key}" if re.fullmatch("[a-z_]{1,40}", key) else ""  # a plain word is not a secret
            nearest = difflib.get_close_matches(key[:40].lower(), sorted(KEYS), 1, 0.75)
            hint = f"; did you mean {nearest[0]}?" if nearest else "."
            yield f"cloud_init holds the key{name}, which cloud-init does not know and ignores{hint}"


def _read(text: str) -> t.Any:
    try:
        return yaml.safe_load(text)
    except Exception as error:  # PyYAML's constructors may raise any exception
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"is not valid YAML{place}") from None
