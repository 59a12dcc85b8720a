# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What user data (cloud-init) must look like, checked before money is spent.

The rules are those of the API page "procure offer": it begins with ``#cloud-config`` or ``#!/`` and is at most 64 KB.
cloud-init itself checks the values of a cloud-config, on the machine.
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

# Tokens, by how those of GitHub, GitLab, Hugging Face, Slack, Tailscale and AWS begin.
_TOKEN = re.compile(
    r"\b(?:gh[oprsu]_|github_pat_|gl[a-z]{2,6}-|hf_|xox[a-z]-|tskey-[a-z]{3,10}-)[A-Za-z0-9_-]{10}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
)


def completed(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A cloud-config, ready to be written as YAML: with what its parts need, and without what is empty."""
    mounts = config.get("mounts") or []
    # One that names no folder removes what the vendor has listed, such as [swap].
    folders = tuple(f"{folder}/" for mount in mounts for folder in mount[1:2])

    def written(file: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
        # cloud-init writes files before it mounts and before it makes users.
        late = str(file.get("owner", "root")) not in ("root", "root:root") or str(file.get("path")).startswith(folders)
        return {"defer": True, **file} if late else file

    users = config.get("users")
    found = {
        "package_update": bool(config.get("packages")),
        **config,
        "hostname": str(config.get("hostname") or ""),
        "users": ["default", *users] if users else [],
        "write_files": [written(file) for file in config.get("write_files") or []],
    }
    return {key: value for key, value in found.items() if value}


def check_user_data(text: str) -> list[str]:
    """Warnings about user data that may be meant as it is. Raises ValueError for what cannot work.

    No message repeats user data, which may hold secrets: only line numbers, and keys that are plain words.
    """
    is_config = text.partition("\n")[0].rstrip() == "#cloud-config"
    if not is_config and not text.startswith("#!/"):
        raise ValueError("must begin with a line '#cloud-config' or with '#!/', and nothing before it")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise ValueError(f"is {size} bytes long; the API takes at most {MOST_BYTES} bytes")
    return [*_warnings(text), *(_unknown_keys(text) if is_config else ())]


def _warnings(text: str) -> Iterator[str]:
    """What may be a mistake, each with its first line."""
    lines = text.splitlines()
    for doubt, advice in (
        (_is_template, "holds template marks in line {}; they reach the machine as they are."),
        (_TOKEN.search, "seems to hold a token in line {}. Every process of the machine, and the vendor, can read it."),
    ):
        number = next((number for number, line in enumerate(lines, 1) if doubt(line)), None)
        if number is not None:
            yield f"cloud_init {advice.format(number)}"


def _is_template(line: str) -> bool:
    return ("{{" in line and "}}" in line) or ("{%" in line and "%}" in line)


def _unknown_keys(text: str) -> Iterator[str]:
    """A warning for each key at the top that is not cloud-init's. Raises ValueError if the text is no YAML mapping."""
    document = _read(text) if yaml else None
    if document is not None and not isinstance(document, dict):
        raise ValueError("must be a YAML mapping below its first line")
    for key in map(str, document or ()):
        if key not in KEYS:
            name = f" {key}" if re.fullmatch("[a-z_]{1,40}", key) else ""  # no secret looks like that
            nearest = difflib.get_close_matches(key[:40].lower(), sorted(KEYS), 1, 0.75)
            hint = f"; did you mean {nearest[0]}?" if nearest else "."
            yield f"cloud_init holds the key{name}, which cloud-init does not know and ignores{hint}"


def _read(text: str) -> t.Any:
    try:
        return yaml.safe_load(text)
    except Exception as error:  # PyYAML's constructors raise whatever a value makes them raise
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"is no valid YAML{place}") from None
