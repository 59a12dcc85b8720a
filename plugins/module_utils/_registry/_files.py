# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry as files: one a host beside the inventory, which Ansible reads back as host variables.

It is one absolute folder, whoever asks, and in it a folder for each host. What ssh reads here is kept in the same way.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import math
import os
import tempfile
import time
import typing as t
import uuid

from .._provision.entry import HELD_BY, IDS, REFUSED, Entry, project_of, read_entry
from .._provision.lease import API_CLOCK, NOTED_BY, Clock, clock_of
from .._provision.ledger import (
    ADOPTED,
    ENDED,
    MADE,
    NOTHING,
    SENT,
    Line,
    bill_of,
    clock_ahead,
    fold,
    line_of_entry,
    read_line,
)
from .._provision.place import ENTRY, Folder
from .._provision.purchase import LONGEST_POST
from .._provision.spending import Bill, Ledger
from .._provision.storage import (
    STORAGE,
    Storage,
    kept_after_end,
    label_of,
    read_storage,
    together,
    variables_of,
    without,
)
from .._text import read_json_object, utc
from ._locks import Hold, held_by, locked, make_folder, sync_folder
from ._protocol import (
    FAILED,
    GONE,
    MOVED,
    Claimed,
    Entries,
    ReadsOnly,
    RegistryError,
    Variables,
    as_seen,
    explained,
)

try:
    import yaml
except ImportError:
    HAS_YAML = False
else:
    HAS_YAML = True

HEADER = (
    "# Written by compute_index.supply: what this host owns or is about to buy."
    " A machine is billed until it is deleted at the API.\n"
)
MISSING_YAML = "This Python has no PyYAML, which reads and writes the registry file."

# Of all hosts, in the registry itself. Ansible does not read files whose name begins with a dot.
SWEPT = ".compute_index_supply.swept"  # when its leases were enforced last
LEDGER = ".compute_index_supply.ledger"
KNOWN_HOSTS = ".known_hosts"  # the host keys of the host's machines, beside its entry

HOST_KEYS = "provision_host_keys"  # in an entry: lines of a file of known hosts
# A text that begins with the last one says by itself what else marks a template.
_TEMPLATE_MARKS = ("{{", "{%", "{#", "#jinja2:")


class HostFile:
    """The memory of one host in a file; see `Registry`. It is locked for each change, never while the API is asked.

    While this run is buying it holds the host, and ``who`` is told to others. The ledger is written beside it: of a
    purchase after the entry, of an end before, so that what a crash leaves counts as running.
    """

    longest_post = LONGEST_POST  # a file has no settings

    def __init__(
        self,
        path: str,
        who: str = "",
        ahead: t.Callable[[], float | None] = lambda: None,
        *,
        read_only: bool = False,
    ) -> None:
        self.read_only = read_only
        self.where = self._path = os.path.abspath(path)
        self._folder = os.path.dirname(os.path.realpath(self._path))
        self._known: Variables | None = None  # as this run has read or written it last
        self._claimed_as = Entry()  # by this run
        self._ahead = ahead
        self._hold = Hold(self._folder, who)
        self._run = uuid.uuid4().hex[:12]

    def read(self) -> Variables | None:
        self._known = _load(self._path)
        return None if self._known is None else _with_holder(self._known, self._hold.other)

    def clock(self) -> Clock:
        """This computer's time, and the API's where that is known."""
        return Clock.of(time.time(), self._ahead())

    def now(self) -> float:
        return self._time_of(self._known or {})

    def _time_of(self, entry: Variables) -> float:
        return self.clock().now(clock_of(entry.get(NOTED_BY)))

    def hold(self) -> None:
        """Keep other runs on this computer from settling the purchase. Raises Claimed; see `Registry`."""
        with self._changing():
            self._check_free(self._hold.take())
            # What the run before has written since it was read is for the next look.
            if _load(self._path) != self._known:
                self._hold.release()
                self._check_free("another run, which has just ended")

    def close(self) -> None:
        self._hold.release()

    def claim(self, variables: Variables) -> Variables:
        with self._changing():
            self._check_free(self._hold.take())
            found = _load(self._path)
            entry = read_entry(found)
            # Of this very offer the claim may be renewed, but only by the run that saw its last state.
            renewed = found == self._known and entry.offer_id == read_entry(variables).offer_id
            if found is not None and entry.may_have_bought and not renewed:
                raise Claimed(self._path, found)
            self._known = _write(self._path, {**variables, **_merged({}, variables_of(self._kept_in(found)))})
            self._claimed_as = read_entry(self._known)
            self._enter(SENT, self._known, renews=entry.journaled_at if entry.is_open else "")
            return dict(self._known)

    def holds(self) -> bool:
        found, own = read_entry(_load(self._path)), self._claimed_as
        return found.is_open and (found.offer_id, found.journaled_at) == (own.offer_id, own.journaled_at)

    def note(self, changes: Variables, disowned: t.Collection[str] = ()) -> Variables:
        with self._changing():
            before = _load(self._path) or {}
            changes = {**_without(before, disowned), **changes}
            entry, change = read_entry(before), read_entry(changes)
            if entry.may_have_bought and change.offer_id not in ("", entry.offer_id):
                raise Claimed(self._path, before)
            if change.purchase == REFUSED:
                self._check_free(self._hold.other())
            whole = _merged(before, _with_storage(before, as_seen(changes)))
            if entry.may_have_bought and not read_entry(whole).may_have_bought:
                whole = _merged(whole, variables_of(self._let_stay(whole)))
                self._enter(*(ENDED, before, FAILED) if entry.is_made else (NOTHING, before))
            written = _write(self._path, whole)
            after = read_entry(written)
            if after.is_made and after.billed != entry.billed:
                # What cannot be noted here the entry says, and the end repeats it.
                with contextlib.suppress(RegistryError):
                    self._enter(ADOPTED if "provision_adopted" in changes else MADE, written)
            # What another run has changed stays unknown to this one, and stops its next claim.
            if before == (self._known or {}):
                self._known = written
            if not after.is_open:  # nothing is left to be settled
                self._hold.release()
            return dict(written)

    def compare_and_set(self, changes: Variables) -> Variables:
        with self._changing():
            entry = _load(self._path)
            if entry is None or entry != self._known:
                raise Claimed(self._path, entry or {})
            self._known = _write(self._path, _merged(entry, changes))
            return dict(self._known)

    def end(self, why: str = GONE, price_per_hour: float | None = None) -> Bill | None:
        """Remove the file, the host keys that were learnt, and the folder if nothing else is in it.

        Storage stays in the file. Raises Claimed; see `Registry`.
        """
        with self._changing():
            self._check_free(self._hold.other())
            variables = _load(self._path)
            entry, known = read_entry(variables), read_entry(self._known)
            # What has ended for certain has ended, also if another sweep has marked it since, or has removed the entry
            # before this run has noted more of it.
            # What was moved has not, so that a later end of its lease is moved, too.
            is_over = why != MOVED and entry.is_made and entry.is_same(known)
            is_same = variables == self._known or entry.is_empty or is_over
            if variables is not None and not is_same:
                raise Claimed(self._path, variables)
            storage = () if why == MOVED else self._let_stay(variables)
            if variables is not None and entry.may_have_bought:
                price = max(filter(None, (entry.price_per_hour, price_per_hour)), default=entry.price_per_hour)
                self._enter(ENDED, {**variables, "provision_price_per_hour": price}, why)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(os.path.dirname(self._path), KNOWN_HOSTS))
            self._known = self._only_storage(storage)
            self._hold.release()
        return self._bill(entry)

    def end_stray(self, offer: str, ids: t.Collection[str], why: str = GONE) -> Bill | None:
        with self._changing():
            variables = _load(self._path) or {}
            entry, host = read_entry(variables), host_of_entry(self._path)
            ended = next((item for item in entry.kept_storage if item.resource_id == offer), None)
            if ended is None:
                return None
            self._enter(ENDED, ended.entry(host), why)
            left, is_known = without(entry.storage, offer), variables == self._known
            rest = _merged(variables, variables_of(left))
            written = self._only_storage(left) if entry.is_empty else _write(self._path, rest)
            self._known = written if is_known else self._known
        return self._bill(read_entry(ended.entry(host)))

    def _kept_in(self, variables: Variables | None) -> tuple[Storage, ...]:
        """The storage that is left of an entry if its purchase is over."""
        entry = variables or {}
        return kept_after_end(entry, utc(self._time_of(entry))) if entry.get(STORAGE) else ()

    def _let_stay(self, variables: Variables | None) -> tuple[Storage, ...]:
        """Note this storage before its purchase ends, so that a crash in between leaves both running; return it."""
        storage, before = self._kept_in(variables), read_entry(variables).storage
        for item in storage:
            if item not in before:
                self._enter(MADE, item.entry(host_of_entry(self._path)))
        return storage

    def _only_storage(self, storage: t.Collection[Storage]) -> Variables | None:
        """Leave only kept storage in the file, or remove the file if there is none."""
        if storage:
            return _write(self._path, variables_of(storage))
        keep(self._path, None)
        return None

    def _bill(self, entry: Entry) -> Bill | None:
        """The purchase of the entry by the ledger; None if it names none, or if that cannot be read."""
        host, lines = host_of_entry(self._path), list[Line]()
        of_entry = line_of_entry(host, entry)
        with contextlib.suppress(RegistryError):
            lines, _unread = read_ledger(ledger_file(self._path), host)
        return bill_of([line for line in lines if line.purchase == of_entry.purchase]) if of_entry else None

    def _enter(self, event: str, entry: Variables, why: str = "", renews: str = "") -> None:
        """Note in the ledger what happens to the purchase of the entry. Raises RegistryError."""
        at = self.clock(), self._time_of(entry)
        line = _line(event, host_of_entry(self._path), entry, *at, self._run, why, renews)
        append_to_ledger(ledger_file(self._path), line)

    def _check_free(self, other: str) -> None:
        """Raise Claimed if an ``other`` run is buying for the host at this moment."""
        if other:
            raise Claimed(self._path, {**(_load(self._path) or {}), HELD_BY: other})

    @contextlib.contextmanager
    def _changing(self) -> t.Iterator[None]:
        """Every change goes through here. Raises RegistryError, also if the registry is only read."""
        if self.read_only:
            raise ReadsOnly(self._path)
        with explained(f"The registry file {self._path} cannot be kept"), locked(self._path):
            yield


def entries(folder: str) -> Entries:
    """The entries of all hosts in a folder. Raises RegistryError if it cannot be listed, unless it does not exist."""
    found, folder, hosts = Entries(), os.path.abspath(folder), list[str]()
    with explained(f"The registry folder {folder} cannot be read"), contextlib.suppress(FileNotFoundError):
        hosts = sorted(os.listdir(folder))
    for host in hosts:
        try:
            variables = _load(Folder(folder).entry_file(host))
        except RegistryError as error:
            found.broken[host] = str(error)
            continue
        if variables is not None:
            entry = read_entry(_with_holder(variables, functools.partial(held_by, os.path.join(folder, host))))
            found.hosts[host] = entry
            for item in entry.kept_storage:
                found.strays[label_of(host, item.resource_id)] = read_entry(item.entry(host))
    return found


def write_beside_entries(path: str, text: str) -> None:
    """Write a file beside the entries. Raises RegistryError."""
    with explained(f"The file {path} cannot be kept"):
        write_durably(path, text)


def ledger(folder: str, since: float = 0.0) -> Ledger:
    """What was or may be billed since a moment (seconds since the epoch), of all hosts in a folder, ended or not.

    Raises RegistryError if the folder or its ledger cannot be read.
    """
    path = os.path.join(os.path.abspath(folder), LEDGER)
    known = entries(folder)
    held = [*known.hosts.items(), *((entry.storage_of, entry) for entry in known.strays.values())]
    lines, unread = read_ledger(path)
    lines += filter(None, (line_of_entry(host, entry) for host, entry in held))
    bills = fold(lines, known.broken, since)
    warnings = list(known.broken.values())
    if unread > 0:
        warnings.append(f"The ledger {path} has {unread} line(s) that cannot be read; a crash may have torn them.")
    return Ledger(tuple(bills), time.time() + clock_ahead(lines), tuple(warnings))


def _without(before: Variables, disowned: t.Collection[str]) -> Variables:
    """The changes that take these resource ids from an entry; none if it has none of them."""
    ids = read_entry(before).resource_ids
    left = [item for item in ids if item not in disowned]
    return {IDS: left or None} if len(left) < len(ids) else {}


def _with_storage(before: Variables, changes: Variables) -> Variables:
    """The changes, together with the storage that is kept already."""
    if STORAGE not in changes:
        return changes
    storage = together(*(read_storage(variables.get(STORAGE)) for variables in (before, changes)))
    return {**changes, **variables_of(storage)}


def _merged(entry: Variables, changes: Variables) -> Variables:
    """The entry with the changes, of which None removes a key."""
    return {name: value for name, value in {**entry, **changes}.items() if value is not None}


def _with_holder(entry: Variables, other: t.Callable[[], str]) -> Variables:
    """The entry, with the other run that is buying for it at this moment, if any."""
    who = other() if read_entry(entry).is_open else ""
    return {**entry, HELD_BY: who} if who else dict(entry)


# The ledger: one line of JSON for each event, only ever added; after a crash the last one may be torn

# What a line says of its purchase, in this order: these names of `Entry`
_OF_ENTRY = ("offer_id", "resource_ids", "price_per_hour", "groups", "name", "project", "journaled_at")


def _line(
    event: str, host: str, entry: Variables, clock: Clock, now: float, run: str, why: str = "", renews: str = ""
) -> dict[str, t.Any]:
    """A line about the purchase of an entry; ``run`` tells it from those of other runs.

    ``now``: seconds since the epoch by the clock that noted the entry.
    """
    known = read_entry(entry)
    # No end is noted before it was; a `Date` of the API has whole seconds, cut off.
    now = math.ceil(now + (known.clock == API_CLOCK)) if event == ENDED else now
    return {
        "event": event,
        "at": utc(now),
        "host": host,
        **{name: getattr(known, name) for name in _OF_ENTRY},
        "project": project_of(known.project),
        "run": run,
        **({"ahead": round(clock.api - clock.here, 3)} if known.clock == API_CLOCK and clock.api is not None else {}),
        **({"renews": renews} if renews else {}),
        **({"why": why} if why else {}),
    }


def append_to_ledger(path: str, line: t.Mapping[str, t.Any]) -> None:
    """Add a line, durably. Raises RegistryError."""
    with explained(f"The ledger {path} cannot be kept"), locked(path), open(path, "a+b", opener=_opened) as file:
        size = file.tell()
        torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        if not size:
            sync_folder(os.path.dirname(path))


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_ledger(path: str, host: str = "") -> tuple[list[Line], int]:
    """The lines, of one host or of all, and how many cannot be read. Raises RegistryError.

    A merge may repeat a line, while each run writes a line once.
    """
    of_host, lines = json.dumps(host) if host else "", dict[int, t.Optional[Line]]()
    failing = explained(f"The ledger {path} cannot be read")
    is_none = contextlib.suppress(FileNotFoundError, NotADirectoryError)
    with failing, is_none, open(path, encoding="utf-8", errors="replace") as file:
        for text in map(str.rstrip, file):
            if of_host in text and text and hash(text) not in lines:
                lines[hash(text)] = _read_line(text)
    readable = list(filter(None, lines.values()))
    return readable, len(lines) - len(readable)


def _read_line(text: str) -> Line | None:
    """A line of the ledger; None if the text is not one."""
    line = read_json_object(text)
    return read_line(line) if line.get("host") and line.get("event") else None


# Where they are


def registry_dir(wanted: object, inventory_dir: object, sources: t.Sequence[str], here: str) -> str:
    """The folder as an absolute path; empty where none is wanted.

    ``wanted``: provision_registry_dir; None means host_vars beside the inventory, where Ansible reads it back. It does
    so only in the folder of an inventory source, not in folders within it; and hosts that a play added belong to no
    file: theirs is the first source's. Without any inventory file it is the folder ``here``, where Ansible was started.
    A relative path is meant from the inventory, not from the playbook, which may lie in an installed collection.
    """
    if wanted is not None and not str(wanted).strip():
        return ""
    folders = folders_of(sources, here)
    beside = os.path.realpath(str(inventory_dir or os.devnull))
    base = next((folder for folder in folders if os.path.realpath(folder) == beside), next(iter(folders), here))
    path = "host_vars" if wanted is None else os.path.expanduser(os.path.expandvars(str(wanted)))
    return os.path.normpath(os.path.join(base, path))


def folders_of(sources: t.Iterable[str], here: str) -> list[str]:
    """The folders of an inventory's sources, each once; a list of hosts with commas has none.

    A link stays one: Ansible reads variables beside it, and not beside the file that it leads to.
    """
    paths = [os.path.normpath(os.path.join(here, source)) for source in sources if "," not in source]
    folders = (path if os.path.isdir(path) else os.path.dirname(path) for path in paths if os.path.exists(path))
    return list(dict.fromkeys(folders))


def folders_of_job(sources: t.Iterable[str], here: str) -> list[str]:
    """What AWX makes for one job, and removes at its end: around its inventory, and where Ansible was started."""
    return [here, *map(os.path.dirname, folders_of(sources, here))]


def inventory_around(path: str, sources: t.Iterable[str], here: str) -> str:
    """The outermost inventory folder that a path is in, empty if in none. Ansible reads its files, or runs them."""
    folders = [os.path.realpath(os.path.join(here, source)) for source in sources if "," not in source]
    real = os.path.realpath(path)
    around = [folder for folder in folders if os.path.isdir(folder) and os.path.commonpath([folder, real]) == folder]
    return min(around, key=len, default="")


def ledger_file(entry: str) -> str:
    """The ledger of an entry: in the registry's folder, or beside an entry whose file has another name."""
    folder, name = os.path.split(os.path.abspath(entry))
    return os.path.join(os.path.dirname(folder) if name == ENTRY else folder, LEDGER)


def host_of_entry(entry: str) -> str:
    """The host of an entry: the name of its folder, or of the file itself if that has another name."""
    folder, name = os.path.split(os.path.abspath(entry))
    return os.path.basename(folder) if name == ENTRY else os.path.splitext(name)[0]


def known_hosts_file(entry: str) -> str:
    """Where the host keys of a host's machines are pinned: beside its entry; empty without one."""
    return os.path.join(os.path.realpath(os.path.dirname(entry)), KNOWN_HOSTS) if entry else ""


def known_hosts_of_offer(home: str, offer_id: str) -> str:
    """The file of host keys of a purchase without an entry file; ``home`` is Ansible's own folder."""
    return os.path.join(home, "compute_index_supply", "known_hosts", os.path.basename(offer_id) or "none")


# Texts


def entry_text(variables: t.Mapping[str, t.Any]) -> str:
    """A file of host variables. Raises ValueError for what YAML, or a text that Ansible would run as a template."""
    try:
        text: str = yaml.safe_dump(dict(variables), sort_keys=False, width=1000)
    except yaml.YAMLError:
        raise ValueError("holds a value that YAML has no word for") from None
    if any(mark in text for mark in _TEMPLATE_MARKS):
        raise ValueError("holds template marks, which Ansible would evaluate when it reads the file")
    return "---\n" + HEADER + text


def _load(path: str) -> Variables | None:
    """The variables of a file, None if there is none. Raises RegistryError that names the file."""
    if not HAS_YAML:
        raise RegistryError(MISSING_YAML)
    with explained(f"The registry file {path} cannot be read"):
        text = read_text(path)
    if text is None:
        return None
    try:
        return _parse(text)
    except ValueError as error:
        raise RegistryError(f"The registry file {path} {error}. Repair it; a machine may be billed.") from None


def _parse(text: str) -> Variables:
    """The variables of a file's text. Raises ValueError if it is no mapping."""
    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"is no valid YAML{f' (line {mark.line + 1})' if mark else ''}") from None
    if not isinstance(data, dict):
        raise ValueError("is empty" if data is None else "holds no mapping of host variables")
    return data


def _write(path: str, variables: Variables) -> Variables:
    """Write the variables, and return them as they will be read. Raises OSError and RegistryError."""
    try:
        text = entry_text(variables)
        as_read = _parse(text)
    except ValueError as error:
        raise RegistryError(f"The registry file {path} cannot be kept: it {error}.") from None
    write_durably(path, text)
    return as_read


# Files


def read_text(path: str) -> str | None:
    """The file's text, None if there is no such file. Raises OSError or UnicodeError if it cannot be read."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), open(path, encoding="utf-8") as file:
        return file.read()
    return None


def text_in(path: str) -> str:
    """The file's text, empty if it cannot be read."""
    with contextlib.suppress(OSError, UnicodeError):
        return read_text(path) or ""
    return ""


def keep(path: str, text: str | None) -> None:
    """Make the file have this text, or not be there if it is None. Raises OSError; see `write_durably`."""
    if text is not None:
        write_durably(path, text)
        return
    folder = os.path.dirname(os.path.abspath(path))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        sync_folder(folder)


def write_durably(path: str, text: str) -> None:
    """Replace a file in one step, mode 0600: after a crash the old or the new one is on disk, whole.

    Raises OSError; the old file is then untouched, and so is a device, which root would replace by a file.
    """
    path = os.path.realpath(path)  # a link stays one
    folder = os.path.dirname(path)
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise OSError(errno.EINVAL, "it is no plain file")
    make_folder(folder)
    # A name that begins with a dot is not read as host variables, should a crash leave it behind.
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(folder)


# What ssh reads


def keep_ssh_config(path: str, text_now: t.Callable[[], str | None]) -> None:
    """Let the file of a registry's configuration of ssh have this text; None stands for no file.

    Where nothing may be written, nothing is. Raises RegistryError.
    """
    with explained(f"The file {path} cannot be kept"):
        if os.access(os.path.dirname(path), os.W_OK):
            with locked(path):
                text = text_now()
                if text != read_text(path):
                    keep(path, text)


def pinned_host_keys(path: str) -> list[str] | None:
    """The host keys in the file, None if there are none."""
    return text_in(path).splitlines() or None


def pin_host_keys(path: str, keys: t.Sequence[str]) -> None:
    """Add these host keys to the file, whose folder is there afterwards. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if set(keys) <= set(pinned_host_keys(path) or ()):
        return
    with locked(path):
        write_durably(path, "".join(f"{line}\n" for line in dict.fromkeys([*(pinned_host_keys(path) or ()), *keys])))
