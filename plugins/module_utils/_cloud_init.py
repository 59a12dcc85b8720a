# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What user data (cloud-init) must look like, checked before money is spent.

The rules are those of the API page "procure offer": it begins with ``#cloud-config`` or ``#!/`` and is at most 64 KB.
"""

from __future__ import annotations

import re

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

MOST_BYTES = 65_536


def check_user_data(text: str) -> list[str]:
    """Warnings about user data that may be meant as it is. Raises ValueError for what cannot work.

    No message holds a piece of the user data: it may carry secrets.
    """
    _check_header(text)
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise ValueError(f"is {size} bytes long; the API takes at most {MOST_BYTES} bytes")
    if text.startswith("#cloud-config"):
        _check_yaml(text)
    return _warnings(text)


def _check_header(text: str) -> None:
    if text.startswith("#!/") or text.split("\n", 1)[0].rstrip() in ("#cloud-config", "#cloud-config-archive"):
        return
    hint = ""
    if text.lstrip("\ufeff \t\r\n").startswith(("#cloud-config", "#!/")):
        hint = "; there is a blank or a byte order mark before it"
    elif not text.strip():
        hint = "; it is empty"
    raise ValueError(f"must begin with a line '#cloud-config' or with '#!/'{hint}")


def _check_yaml(text: str) -> None:
    if yaml is None:
        return
    wanted = list if text.startswith("#cloud-config-archive") else dict
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"is no valid YAML: {_yaml_problem(error)}") from None
    except Exception as error:  # PyYAML's constructors raise whatever a value makes them raise
        raise ValueError(f"is no valid YAML: {type(error).__name__}") from None
    if document is not None and not isinstance(document, wanted):
        raise ValueError(f"must be a YAML {'list' if wanted is list else 'mapping'} below its first line")


def _yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the text itself, which PyYAML quotes."""
    said = re.match(r"[a-z ,-]+", str(getattr(error, "problem", None) or ""))
    problem = said.group().strip() if said else "it cannot be read"
    mark = getattr(error, "problem_mark", None)
    return problem if mark is None else f"{problem} (line {mark.line + 1}, column {mark.column + 1})"


def _warnings(text: str) -> list[str]:
    warnings = []
    lines = [number for number, line in enumerate(text.splitlines(), 1) if re.search(r"\{\{.*\}\}|\{%.*%\}", line)]
    if lines:
        warnings.append(
            f"cloud_init holds template marks in line {lines[0]}; they reach the machine as they are. If they are no"
            " part of a command, a variable was not rendered."
        )
    if "\r\n" in text:
        warnings.append("cloud_init has Windows line ends; scripts in it will not start on Linux.")
    return warnings
