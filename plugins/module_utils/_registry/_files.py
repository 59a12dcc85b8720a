# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry as files: one a host beside the inventory, which Ansible reads back as host variables.

It is one absolute folder, whoever asks, and in it a folder for each host. What ssh reads here is kept in the same way.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import tempfile
import time
import typing as t
import uuid

from .._provision.entry import HELD_BY, IDS, REFUSED, Entry, project_of, read_entry, with_missing_cleared
from .._provision.lease import API_CLOCK, NOTED_BY, Clock, clock_of
from .._provision.ledger import (
    ADOPTED,
    ENDED,
    FAILED,
    GONE,
    MADE,
    MOVED,
    NOTHING,
    SENT,
    Line,
    bill_of,
    line_of_entry,
    read_line,
)
from .._provision.place import ENTRY
from .._provision.purchase import LONGEST_POST
from .._provision.spending import Bill
from .._provision.storage import (
    STORAGE,
    Storage,
    kept_after_end,
    merged_storage,
    read_storage,
    storage_variables,
    without,
)
from .._text import read_json_object, utc
from ._protocol import Claimed, ReadOnlyRegistry, RegistryError, Variables

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
            self._known = _write(self._path, {**variables, **_merged({}, storage_variables(self._kept_in(found)))})
            self._claimed_as = read_entry(self._known)
            self._enter(SENT, self._known, renews=entry.journaled_at if entry.is_open else "")
            return dict(self._known)

    def still_holds(self) -> bool:
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
            whole = _merged(before, _with_storage(before, with_missing_cleared(changes)))
            if entry.may_have_bought and not read_entry(whole).may_have_bought:
                whole = _merged(whole, storage_variables(self._let_stay(whole)))
                self._enter(*(ENDED, before, FAILED) if entry.is_made else (NOTHING, before))
            written = _write(self._path, whole)
            after = read_entry(written)
            if after.is_made and after.billing_facts != entry.billing_facts:
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
            rest = _merged(variables, storage_variables(left))
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
            return _write(self._path, storage_variables(storage))
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
            raise ReadOnlyRegistry(self._path)
        with as_registry_error(f"The registry file {self._path} cannot be kept"), locked(self._path):
            yield


def _without(before: Variables, disowned: t.Collection[str]) -> Variables:
    """The changes that take these resource ids from an entry; none if it has none of them."""
    ids = read_entry(before).resource_ids
    left = [item for item in ids if item not in disowned]
    return {IDS: left or None} if len(left) < len(ids) else {}


def _with_storage(before: Variables, changes: Variables) -> Variables:
    """The changes, together with the storage that is kept already."""
    if STORAGE not in changes:
        return changes
    storage = merged_storage(*(read_storage(variables.get(STORAGE)) for variables in (before, changes)))
    return {**changes, **storage_variables(storage)}


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
    with (
        as_registry_error(f"The ledger {path} cannot be kept"),
        locked(path),
        open(path, "a+b", opener=open_owner_only) as file,
    ):
        size = file.tell()
        torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        if not size:
            sync_folder(os.path.dirname(path))


def open_owner_only(path: str, flags: int) -> int:
    """An opener of a file that, if it is made, nobody but its owner can read."""
    return os.open(path, flags, 0o600)


def read_ledger(path: str, host: str = "") -> tuple[list[Line], int]:
    """The lines, of one host or of all, and how many cannot be read. Raises RegistryError.

    A merge may repeat a line, while each run writes a line once.
    """
    of_host, lines = json.dumps(host) if host else "", dict[int, t.Optional[Line]]()
    failing = as_registry_error(f"The ledger {path} cannot be read")
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
    with as_registry_error(f"The registry file {path} cannot be read"):
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


def readable_text(path: str) -> str:
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


@contextlib.contextmanager
def as_registry_error(failure: str) -> t.Iterator[None]:
    """Raise RegistryError where the file system fails: ``failure``, such as ``The file X cannot be kept``, and why."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise RegistryError(f"{failure}: {reason_of(error)}.") from None


def reason_of(error: BaseException) -> str:
    """What is wrong with a file, as the end of a sentence."""
    if isinstance(error, UnicodeError):
        return "it is no UTF-8"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# Locks: one for the time of a write, and one that a purchase holds to its end. A lock is a file that is locked while it
# is there. Both end with the process that has them, however it ends

LOCK_TIMEOUT = 20.0  # seconds; the lock of a write is held for the time of a write
HOLD_TIMEOUT = 0.5  # seconds; to see whether a host is held takes the lock for a moment, too
PAUSE = 0.02  # seconds
# Ansible does not read files whose name begins with a dot.
_BUYING = ".compute_index_supply.buying"
_SOMEBODY = "another process"


@contextlib.contextmanager
def locked(path: str) -> t.Iterator[None]:
    """Hold a file, whose folder is made if need be, against other processes and threads. Raises OSError.

    If the folder is empty at the end, it goes: Ansible would read it instead of a file of host variables of that name.
    """
    folder, name = os.path.split(os.path.realpath(path))
    lock = f".{name.lstrip('.')}.lock"
    handle = _lock(folder, lock, LOCK_TIMEOUT)
    try:
        yield
    finally:
        unlock(folder, lock, handle)


def _lock(folder: str, file: str, seconds: float) -> int:
    """The handle of a lock, after a wait of so many seconds at most. Raises TimeoutError, and OSError as `try_lock`."""
    deadline = time.monotonic() + seconds
    while (handle := try_lock(folder, file)) is None:
        if time.monotonic() >= deadline:
            raise TimeoutError(f"another process has held the lock of {folder} for {seconds:g} seconds")
        time.sleep(PAUSE)
    return handle


def try_lock(folder: str, file: str) -> int | None:
    """Make the folder and the file if need be, lock the file, and return its handle; None if another run has the lock.

    Raises OSError, also where the file system has no locks.
    """
    target = os.path.join(folder, file)
    make_folder(folder)
    try:
        handle = os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None  # another process has just removed the folder
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(target)):
            return handle  # the lock of a file that was removed meanwhile is worth nothing
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        os.close(handle)
        raise OSError(
            error.errno,
            f"its file system has no locks ({error.strerror}), which keep runs at the same moment apart. Set"
            " provision_registry_dir to a folder elsewhere, or use a shared registry (provision_registry_url)",
        ) from None
    os.close(handle)
    return None


def unlock(folder: str, file: str, handle: int) -> None:
    """Give a lock back, and remove the folder if nothing else is in it. Never raises."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, file))
        os.rmdir(folder)
    os.close(handle)


class Hold:
    """A host's folder, held against other runs from before its purchase is sent until it is noted what became of it.

    Safety does not rest on it (the same offer is sold once): it keeps two runs from asking the same at once. ``who`` is
    what other runs read.
    """

    def __init__(self, folder: str, who: str) -> None:
        self._folder = folder
        self._who = who
        self._handle: int | None = None

    def take(self) -> str:
        """Hold the folder; who else does, empty if this run does now. Raises OSError."""
        if self._handle is None:
            try:
                self._handle = _lock(self._folder, _BUYING, HOLD_TIMEOUT)
            except TimeoutError:
                return held_by(self._folder) or _SOMEBODY
            os.truncate(self._handle, 0)
            os.write(self._handle, self._who.encode())
        return ""

    def other(self) -> str:
        """Which other run holds the folder at this moment; empty if none does."""
        return held_by(self._folder) if self._handle is None else ""

    def release(self) -> None:
        """Let go of the folder. Never raises."""
        handle, self._handle = self._handle, None
        if handle is not None:
            unlock(self._folder, _BUYING, handle)


def held_by(folder: str) -> str:
    """The run that holds the folder for a purchase at this moment; empty if none does, or if that cannot be read."""
    path = os.path.join(folder, _BUYING)
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() or _SOMEBODY
    return ""


def make_folder(folder: str) -> None:
    """Make a folder and those above it, each for its owner only, whatever the umask. Raises OSError."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    if parent != folder:
        make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        sync_folder(parent)


def sync_folder(folder: str) -> None:
    """The new name is on disk only once its folder is. Some network file systems cannot do that, and need not."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
