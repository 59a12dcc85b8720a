# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What user data (cloud-init) must look like, checked before money is spent.

The rules are those of the API page "procure offer": it begins with ``#cloud-config`` or ``#!/`` and is at most 64 KB.
What cloud-init itself knows and would stumble over stands in ``schema``.
"""

from __future__ import annotations

import difflib
import itertools
import re
import typing as t
from collections.abc import Callable, Iterable, Iterator

from . import schema

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

MOST_BYTES = 65_536

_KINDS: dict[str, Callable[[t.Any], bool]] = {
    "a list": lambda value: isinstance(value, list),
    "a mapping": lambda value: isinstance(value, dict),
    "nothing": lambda value: value is None,
    "text": lambda value: isinstance(value, (str, bytes)),  # YAML's !!binary is bytes
    "true or false": lambda value: isinstance(value, bool),
    "an absolute path": lambda value: isinstance(value, str) and value.startswith("/"),
    "b64, gz, gz+b64 or text/plain": lambda value: (
        isinstance(value, str)
        and bool(re.fullmatch(r"(gz(ip)?\+)?b(ase)?64|gz(ip)?|text/plain|", value.strip().lower()))
    ),
    "octal digits in quotes, such as '0644'": lambda value: (
        isinstance(value, str) and bool(re.fullmatch("(0o)?[0-7]{3,5}", value))
    ),
    "poweroff, reboot or halt": lambda value: value in ("poweroff", "reboot", "halt"),
}


# The keys of the mappings at each place whose values are looked at.
_KEYS = [item.rpartition(".") for item in schema.FITS if not item.endswith("[]")]
_INNER = {place: [key for around, _mark, key in _KEYS if around == place] for place in schema.FITS}

# Only what hardly anything else looks like. Repetitions have a limit or a fixed end, so that no line takes long.
_SECRETS = {
    "a private key": re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"),
    "a GitHub token": re.compile(r"\b(?:gh[oprsu]_[A-Za-z0-9]{30}|github_pat_[A-Za-z0-9_]{22})"),
    "a GitLab token": re.compile(r"\bgl[a-z]{2,6}-[A-Za-z0-9_-]{20}"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30}"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a Slack token": re.compile(r"\bxox[a-z]-[A-Za-z0-9-]{10}"),
    # sk-ssh-... is a type of public keys.
    "an API key (sk-)": re.compile(r"(?<![\w-])sk-(?!ssh-|ecdsa-)[A-Za-z0-9_-]{20}"),
    "a W&B key": re.compile(r"(?i:wandb).{0,40}?(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])"),
    "a Tailscale key": re.compile(r"\btskey-[a-z]{3,10}-[A-Za-z0-9]{8}"),
}
# No hash, no variable, no locked account, no word for a random password, and no line of nsswitch.conf.
_PLAIN = r"""(?![$!*~#'"\s]|(?:R|RANDOM|null|true|false|files|compat)\b)"""
_PASSWORD = re.compile(
    rf"""(?<![\w-])(?:password|passwd|plain[_-]text[_-]passwd)["']?:\s*["']?{_PLAIN}\S"""
    r"""|:(?!\$)[^\s|'"]{1,100}["']?\s*\|\s*(?:sudo\s+)?chpasswd\b(?!\s+(?:-e|--encrypted)\b)"""
)
_CHPASSWD = re.compile(rf"\w:{_PLAIN}\S")


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

    No message holds a piece of the user data, which may carry secrets: only line numbers, keys that cloud-init knows,
    and keys that are plain words.
    """
    if not text.strip():
        raise ValueError("renders to nothing; leave it out if the machine shall run nothing at its first boot")
    _check_header(text)
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MOST_BYTES:
        raise ValueError(f"is {size} bytes long; the API takes at most {MOST_BYTES} bytes")
    found = _check_yaml(text) if text.startswith("#cloud-config") else []
    return [*_warnings(text), *found]


def _check_header(text: str) -> None:
    if text.startswith("#!/") or text.split("\n", 1)[0].rstrip() in ("#cloud-config", "#cloud-config-archive"):
        return
    hint = ""
    if text.lstrip("\ufeff \t\r\n").startswith(("#cloud-config", "#!/")):
        hint = "; there is white space or a byte order mark before it"
    elif re.match(r"\s*##\s*template\s*:", text, re.IGNORECASE):
        hint = "; the API does not take templates of cloud-init: render it with Ansible and leave out its first line"
    raise ValueError(f"must begin with a line '#cloud-config' or with '#!/'{hint}")


def _check_yaml(text: str) -> list[str]:
    """Warnings of what the document holds. Raises ValueError if it cannot be read, or cloud-init would stop."""
    if yaml is None:
        return []
    root, keys, document = _parsed(text)
    _check_form(text, document)
    again = [f"cloud_init holds {key}, a second time; only the last one counts." for key in keys if key.again]
    if not isinstance(document, dict):
        return again
    unknown = [
        f"cloud_init holds {key}, which cloud-init does not know and ignores{_meant(key)}"
        for key in keys
        if key.owner is root and key.text not in schema.KEYS
    ]
    doubts = [f"cloud_init may not do what it is meant to: {misfit}." for misfit in _doubts(document)]
    return [*unknown, *doubts, *again]


def _check_form(text: str, document: t.Any) -> None:
    """Raise ValueError if the document is none of the kind that the text's first line says."""
    wanted = list if text.startswith("#cloud-config-archive") else dict
    if document is not None and not isinstance(document, wanted):
        raise ValueError(f"must be a YAML {'list' if wanted is list else 'mapping'} below its first line")


def _parsed(text: str) -> tuple[t.Any, list[_Key], t.Any]:
    """The root node of a YAML text, all keys, and the document that it means. Raises ValueError if it is none."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        # Before the document is made of it: that puts merged mappings (<<) among a mapping's own keys.
        keys = list(_keys(root))
        return root, keys, None if root is None else loader.construct_document(root)
    except yaml.YAMLError as error:
        raise ValueError(f"is no valid YAML: {_yaml_problem(error)}") from None
    except Exception as error:  # PyYAML's constructors raise whatever a value makes them raise
        raise ValueError(f"is no valid YAML: {type(error).__name__}") from None


def _doubts(document: dict[t.Any, t.Any]) -> list[str]:
    """The first misfit of each key. Raises ValueError with the first one that stops cloud-init."""
    misfits = [list(_misfits(key, key, document[key])) for key in schema.FITS if key in document]
    for stops, misfit in itertools.chain.from_iterable(misfits):
        if stops:
            raise ValueError(misfit)
    return [of_key[0][1] for of_key in misfits if of_key]


def _misfits(place: str, where: str, value: t.Any) -> Iterator[tuple[bool, str]]:
    """What does not fit at a place, and whether cloud-init stops there. Without the document's own words."""
    fits = schema.FITS[place]
    if _is_any(fits, value):
        for part in _parts(place, where, value):
            yield from _misfits(*part)
        return
    stops = place in schema.STOPS and not _is_any(schema.STOPS[place], value)
    hint = " (quote a text that holds ': ')" if isinstance(value, dict) and "text" in fits else ""
    kinds = " or ".join(kind for kind in fits if kind != "nothing")
    yield stops, f"{where} {'must' if stops else 'should'} be {kinds}{hint}"


def _parts(place: str, where: str, value: t.Any) -> Iterator[tuple[str, str, t.Any]]:
    """The parts of a value that have a form of their own: the place of each, where it is, and its value."""
    if isinstance(value, list) and f"{place}[]" in schema.FITS:
        for number, item in enumerate(value):
            yield f"{place}[]", f"{where}[{number}]", item
    elif isinstance(value, dict):
        for key in _INNER.get(place, ()):
            if key in value or f"{place}.{key}" in schema.NEEDED:
                yield f"{place}.{key}", f"{where}.{key}", value.get(key)


def _is_any(kinds: Iterable[str], value: t.Any) -> bool:
    return any(_KINDS[kind](value) for kind in kinds)


def _meant(key: _Key) -> str:
    """The known key that an unknown one may be meant to be."""
    nearest = difflib.get_close_matches(key.text[:40].lower(), sorted(schema.KEYS), 1, 0.75)
    return f"; did you mean {nearest[0]}?" if nearest else "."


class _Key(t.NamedTuple):
    """A key of a mapping. It names itself only if it is a plain word, which no secret is."""

    owner: t.Any
    text: str
    line: int
    again: bool

    def __str__(self) -> str:
        return f"the key{' ' + self.text if re.fullmatch('[a-z_]{1,40}', self.text) else ''} in line {self.line}"


def _keys(root: t.Any) -> Iterator[_Key]:
    """The keys of all mappings. Without recursion: anchors make loops."""
    todo, done = [root], set()
    while todo:
        node = todo.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            seen = set()
            for key, _value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    yield _Key(node, key.value, key.start_mark.line + 1, key.value in seen)
                    seen.add(key.value)
            todo += reversed([value for _key, value in node.value])


def _yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the text itself, which PyYAML quotes."""
    said = re.match(r"[a-z ,-]+", str(getattr(error, "problem", None) or ""))
    problem = said.group().strip() if said else "it cannot be read"
    mark = getattr(error, "problem_mark", None)
    return problem if mark is None else f"{problem} (line {mark.line + 1}, column {mark.column + 1})"


def _warnings(text: str) -> Iterator[str]:
    lines = text.splitlines()
    if marked := [number for number, line in enumerate(lines, 1) if _has_template_mark(line)]:
        yield (
            f"cloud_init holds template marks in line {marked[0]}; they reach the machine as they are. If they are no"
            " part of a command, a variable was not rendered."
        )
    if "\r\n" in text:
        yield "cloud_init has Windows line ends; scripts in it will not start on Linux."
    if secrets := _secrets(lines):
        places = ", ".join(f"{kind} (line {number})" for kind, number in secrets.items())
        yield (
            f"cloud_init seems to hold {places}. User data can be read by every process on the machine, and by the"
            " vendor."
        )


def _has_template_mark(line: str) -> bool:
    return any(start in line and end in line.split(start, 1)[1] for start, end in (("{{", "}}"), ("{%", "%}")))


def _secrets(lines: list[str]) -> dict[str, int]:
    """What looks like a secret, each kind with its first line. Without YAML: scripts and archives hold secrets, too."""
    result: dict[str, int] = {}
    section = ""  # the last line that is not indented: the key that a line of a cloud-config belongs to
    for number, line in enumerate(lines, 1):
        section = line if re.match(r"[^\s#]", line) else section
        for kind in _secrets_in(line, section):
            result.setdefault(kind, number)
    return result


def _secrets_in(line: str, section: str) -> list[str]:
    """The kinds of secrets in a line of a section."""
    kinds = [kind for kind, pattern in _SECRETS.items() if pattern.search(line)]
    if "a private key" in kinds and re.search(r"""\bssh_keys["']?\s*:""", section):
        kinds.remove("a private key")  # the machine's own host keys cannot come otherwise
    is_chpasswd = re.search(r"""\bchpasswd["']?\s*:""", section) and _CHPASSWD.search(line)
    if not line.lstrip().startswith("#") and (is_chpasswd or _PASSWORD.search(line)):
        kinds.append("a password in plain text")
    return kinds
