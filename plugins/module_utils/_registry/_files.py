# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry as files: one per host, next to the inventory, which Ansible reads back as host variables.

A registry is an absolute folder with a folder for each host. The same functions write files for ssh there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import re
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
from .._provision.search import highest_known_price
from .._provision.spending import Bill
from .._provision.storage import (
    STORAGE,
    Storage,
    kept_after_end,
    merged_storage,
    other_storage,
    read_storage,
    storage_variables,
)
from .._text import read_json_object, utc
from ._protocol import Claimed, ReadOnlyRegistry, RegistryError, Unwritable, Variables

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

# In the registry's folder, for all hosts. Ansible does not read files whose name begins with a dot.
SWEPT = ".compute_index_supply.swept"  # when a sweep last enforced its leases
LEDGER = ".compute_index_supply.ledger"
KNOWN_HOSTS = ".known_hosts"  # the host keys of a host's machines, next to its entry

HOST_KEYS = "provision_host_keys"  # in an entry: lines of its known_hosts file
# Ansible evaluates texts with these marks; a text that begins with the last one may set other marks.
_TEMPLATE_MARK = r"\{(?=[{%#])|#(?=jinja2:)"
_UNWRITABLE = re.compile(_TEMPLATE_MARK + "|[\ud800-\udfff]")  # also half a surrogate pair: YAML has no form for it


class HostFile:
    """One host's entry in a file; see `Registry`. The file is locked for each change, never during an API call.

    While this run buys, it holds the host, and other runs read ``who``. The ledger is written after the entry of a
    purchase, but before the entry of an end is removed, so that after a crash the purchase counts as running.
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
        self._host = host_of_entry(self._path)
        self._state: Variables | None = None  # as this run has read or written it last
        self._claimed_entry = Entry()  # by this run
        self._ahead = ahead
        self._hold = Hold(os.path.dirname(os.path.realpath(self._path)), who)
        self._run = uuid.uuid4().hex[:12]

    def read(self) -> Variables | None:
        self._state = _load(self._path)
        return None if self._state is None else _with_holder(self._state, self._hold.other)

    def clock(self) -> Clock:
        """This computer's time, and the API's if that is known."""
        return Clock.of(time.time(), self._ahead())

    def now(self) -> float:
        return self._time_for(self._state or {})

    def _time_for(self, entry: Variables) -> float:
        """Seconds since the epoch, by the clock that noted the entry."""
        return self.clock().now(clock_of(entry.get(NOTED_BY)))

    def hold(self) -> None:
        """Keep other runs on this computer from settling the purchase. Raises Claimed; see `Registry`."""
        with self._changing():
            self._check_free(self._hold.take())
            # If the run before has written since this one read the entry, this one must read and decide again.
            if _load(self._path) != self._state:
                self._hold.release()
                self._check_free("another run, which has just ended")

    def close(self) -> None:
        self._hold.release()

    def claim(self, variables: Variables) -> Variables:
        with self._changing():
            self._check_free(self._hold.take())
            found = _load(self._path)
            entry = read_entry(found)
            # A claim of the same offer may be renewed, but only by a run that has read its last state.
            renewed = found == self._state and entry.offer_id == read_entry(variables).offer_id
            if entry.may_have_bought and not renewed:
                raise Claimed(self._path, found)
            storage = _merged({}, storage_variables(self._storage_left_by(found)))
            self._state = _write(self._path, {**variables, **storage})
            self._claimed_entry = read_entry(self._state)
            try:
                self._add_to_ledger(SENT, self._state, renews=entry.journaled_at if entry.is_open else "")
            except RegistryError:  # so nothing is sent, and the entry must not say that it was
                self._state = self._rewritten(found)
                raise
            return dict(self._state)

    def _rewritten(self, variables: Variables | None) -> Variables | None:
        """Write the file, or remove it for None. Returns its new content."""
        if variables is not None:
            return _write(self._path, variables)
        write_or_remove(self._path, None)
        return None

    def still_holds(self) -> bool:
        entry, claimed = read_entry(_load(self._path)), self._claimed_entry
        return entry.is_open and (entry.offer_id, entry.journaled_at) == (claimed.offer_id, claimed.journaled_at)

    def note(self, changes: Variables, disowned: t.Collection[str] = ()) -> Variables:
        with self._changing():
            before = _load(self._path) or {}
            changes = {**_removal_of(before, disowned), **_writable(changes)}
            entry = read_entry(before)
            self._check_change(before, entry, read_entry(changes))
            whole = _merged(before, _with_storage(before, with_missing_cleared(changes)))
            if entry.may_have_bought and not read_entry(whole).may_have_bought:
                whole = self._failed(before, entry, whole)
            written = _write(self._path, whole)
            after = read_entry(written)
            if after.is_made and after.billing_facts != entry.billing_facts:
                # If this fails, the entry still names the machines, and so will the line about their end.
                with contextlib.suppress(RegistryError):
                    self._add_to_ledger(ADOPTED if "provision_adopted" in changes else MADE, written)
            # If another run has changed the entry, the old state stays, so that this run's next claim fails.
            if before == (self._state or {}):
                self._state = written
            if not after.is_open:  # nothing is left to be settled
                self._hold.release()
            return dict(written)

    def _check_change(self, before: Variables, entry: Entry, change: Entry) -> None:
        """Raise Claimed if a change is about another offer, or is a refusal while another run is buying."""
        if entry.may_have_bought and change.offer_id not in ("", entry.offer_id):
            raise Claimed(self._path, before)
        if change.purchase == REFUSED:
            self._check_free(self._hold.other())

    def _failed(self, before: Variables, entry: Entry, whole: Variables) -> Variables:
        """Note in the ledger that a purchase failed, or bought nothing; return its entry with the remaining storage."""
        whole = _merged(whole, storage_variables(self._keep_storage(whole)))
        self._add_to_ledger(*(ENDED, before, FAILED) if entry.is_made else (NOTHING, before))
        return whole

    def compare_and_set(self, changes: Variables) -> Variables:
        with self._changing():
            entry = _load(self._path)
            if entry is None or entry != self._state:
                raise Claimed(self._path, entry)
            self._state = _write(self._path, _merged(entry, _writable(changes)))
            return dict(self._state)

    def end(self, why: str = GONE, price_per_hour: float | None = None) -> Bill | None:
        """Remove the file, the learnt host keys, and the folder if nothing else is in it; see `Registry`.

        If storage is kept, the file keeps that. Raises Claimed.
        """
        with self._changing():
            self._check_free(self._hold.other())
            variables = _load(self._path)
            entry = read_entry(variables)
            # A certain end stands even if another sweep has marked the entry since, or had removed it before this run
            # noted more about it. A moved purchase goes on, so a change since, as of its lease, must be moved first.
            is_over = why != MOVED and entry.is_made and entry.is_same(read_entry(self._state))
            may_be_removed = variables == self._state or entry.is_empty or is_over
            if not may_be_removed:
                raise Claimed(self._path, variables)
            storage = () if why == MOVED else self._keep_storage(variables)
            if variables is not None and entry.may_have_bought:
                price = highest_known_price(entry.price_per_hour, price_per_hour)
                self._add_to_ledger(ENDED, {**variables, "provision_price_per_hour": price}, why)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(os.path.dirname(self._path), KNOWN_HOSTS))
            self._state = self._reduce_to_storage(storage)
            self._hold.release()
        return self._bill(entry)

    def end_stray(self, offer: str, ids: t.Collection[str], why: str = GONE) -> Bill | None:
        with self._changing():
            variables = _load(self._path) or {}
            entry = read_entry(variables)
            ended = next((item for item in entry.kept_storage if item.resource_id == offer), None)
            if ended is None:
                return None
            self._add_to_ledger(ENDED, ended.entry(self._host), why)
            left, is_unchanged = other_storage(entry.storage, offer), variables == self._state
            rest = _merged(variables, storage_variables(left))
            written = self._reduce_to_storage(left) if entry.is_empty else _write(self._path, rest)
            self._state = written if is_unchanged else self._state
        return self._bill(read_entry(ended.entry(self._host)))

    def _storage_left_by(self, variables: Variables | None) -> tuple[Storage, ...]:
        """The storage that remains when the entry's purchase is over."""
        entry = variables or {}
        return kept_after_end(entry, utc(self._time_for(entry))) if entry.get(STORAGE) else ()

    def _keep_storage(self, variables: Variables | None) -> tuple[Storage, ...]:
        """Note the remaining storage, and return it: before its purchase ends, so that a crash leaves both running."""
        storage, before = self._storage_left_by(variables), read_entry(variables).storage
        for item in storage:
            if item not in before:
                self._add_to_ledger(MADE, item.entry(self._host))
        return storage

    def _reduce_to_storage(self, storage: t.Collection[Storage]) -> Variables | None:
        """Leave only kept storage in the file, or remove the file without any. Returns its new content."""
        return self._rewritten(storage_variables(storage) if storage else None)

    def _bill(self, entry: Entry) -> Bill | None:
        """The bill of the entry's purchase; None if it names none, or if the ledger cannot be read."""
        lines, of_entry = list[Line](), line_of_entry(self._host, entry)
        with contextlib.suppress(RegistryError):
            lines, _unread = read_ledger(ledger_file(self._path), self._host)
        return bill_of([line for line in lines if line.purchase == of_entry.purchase]) if of_entry else None

    def _add_to_ledger(self, event: str, variables: Variables, why: str = "", renews: str = "") -> None:
        """Add a line about the purchase of an entry. Raises RegistryError.

        ``renews``: the ``journaled_at`` of the open claim that a new one sends again.
        """
        entry, clock, now = read_entry(variables), self.clock(), self._time_for(variables)
        if event == ENDED:  # never noted too early; the API's `Date` lacks the fraction of a second
            now = math.ceil(now + (entry.clock == API_CLOCK))
        line = {
            "event": event,
            "at": utc(now),
            "host": self._host,
            **{name: getattr(entry, name) for name in _LINE_FIELDS},
            "project": project_of(entry.project),
            "run": self._run,
            **(
                {"ahead": round(clock.api - clock.here, 3)}
                if entry.clock == API_CLOCK and clock.api is not None
                else {}
            ),
            **({"renews": renews} if renews else {}),
            **({"why": why} if why else {}),
        }
        append_to_ledger(ledger_file(self._path), line)

    def _check_free(self, other: str) -> None:
        """Raise Claimed if ``other`` names a run that is buying for the host."""
        if other:
            raise Claimed(self._path, {**(_load(self._path) or {}), HELD_BY: other})

    @contextlib.contextmanager
    def _changing(self) -> t.Iterator[None]:
        """Lock the entry for a change. Every change goes through here. Raises RegistryError."""
        if self.read_only:
            raise ReadOnlyRegistry(self._path)
        failure = f"The registry file {self._path} cannot be written"
        with as_registry_error(failure, Unwritable), locked(self._path):
            yield


def _removal_of(before: Variables, disowned: t.Collection[str]) -> Variables:
    """The changes that remove these resource ids from an entry; empty if it has none of them."""
    ids = read_entry(before).resource_ids
    left = [item for item in ids if item not in disowned]
    return {IDS: left or None} if len(left) < len(ids) else {}


def _with_storage(before: Variables, changes: Variables) -> Variables:
    """The changes, with their storage merged into the storage that the entry keeps."""
    if STORAGE not in changes:
        return changes
    storage = merged_storage(*(read_storage(variables.get(STORAGE)) for variables in (before, changes)))
    return {**changes, **storage_variables(storage)}


def _writable(value: t.Any) -> t.Any:
    """The value with question marks in place of characters that no entry may have, as in a shared registry.

    No text of the API or of a machine may keep a fact from being noted: what it is about may be billed.
    """
    if isinstance(value, t.Mapping):
        return {_writable(key): _writable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(item) for item in value]
    return _UNWRITABLE.sub("?", value) if isinstance(value, str) else value


def _merged(entry: Variables, changes: Variables) -> Variables:
    """The entry with the changes; a value of None removes its key."""
    return {name: value for name, value in {**entry, **changes}.items() if value is not None}


def _with_holder(entry: Variables, other: t.Callable[[], str]) -> Variables:
    """The entry, with the name of the other run that is buying for it, if any."""
    who = other() if read_entry(entry).is_open else ""
    return {**entry, HELD_BY: who} if who else dict(entry)


# The ledger: a line of JSON for each event. Lines are only added; a crash may cut off the last one.

# Fields of `Entry` that a line has, in this order
_LINE_FIELDS = ("offer_id", "resource_ids", "price_per_hour", "groups", "name", "project", "journaled_at")


def append_to_ledger(path: str, line: t.Mapping[str, t.Any]) -> None:
    """Add a line to a ledger, durably. Raises RegistryError."""
    failing = as_registry_error(f"The ledger {path} cannot be written")
    with failing, locked(path), open(path, "a+b", opener=open_owner_only) as file:
        size = file.tell()
        torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        if not size:
            sync_folder(os.path.dirname(path))


def open_owner_only(path: str, flags: int) -> int:
    """An opener for `open`; only the owner can read a file that it makes."""
    return os.open(path, flags, 0o600)


def read_ledger(path: str, host: str = "") -> tuple[list[Line], int]:
    """The lines of one host or of all, and how many lines cannot be read. Raises RegistryError.

    Equal lines count once: no run writes a line twice, but a merge may repeat it.
    """
    host_text, lines = json.dumps(host) if host else "", dict[int, t.Optional[Line]]()
    failing = as_registry_error(f"The ledger {path} cannot be read")
    with (
        failing,
        contextlib.suppress(NotADirectoryError),
        unless_missing(path),
        open(path, encoding="utf-8", errors="replace") as file,
    ):
        for text in map(str.rstrip, file):
            if host_text in text and text and hash(text) not in lines:
                lines[hash(text)] = _read_line(text)
    readable = list(filter(None, lines.values()))
    return readable, len(lines) - len(readable)


def _read_line(text: str) -> Line | None:
    """The line that a text stands for, or None."""
    line = read_json_object(text)
    return read_line(line) if line.get("host") and line.get("event") else None


# Paths


def ledger_file(entry: str) -> str:
    """The ledger of an entry: in the registry's folder, or next to an entry file with another name."""
    folder, name = os.path.split(os.path.abspath(entry))
    return os.path.join(os.path.dirname(folder) if name == ENTRY else folder, LEDGER)


def host_of_entry(entry: str) -> str:
    """The host of an entry: the name of its folder, or of the file if that has another name than usual."""
    folder, name = os.path.split(os.path.abspath(entry))
    return os.path.basename(folder) if name == ENTRY else os.path.splitext(name)[0]


def known_hosts_file(entry: str) -> str:
    """The file that pins the host keys of a host's machines, next to its entry; empty without an entry."""
    return os.path.join(os.path.realpath(os.path.dirname(entry)), KNOWN_HOSTS) if entry else ""


# Texts


def entry_text(variables: t.Mapping[str, t.Any]) -> str:
    """The text of an entry file. Raises ValueError for values without YAML, and texts that Ansible would evaluate."""
    return _text_and_reading(variables)[0]


def _text_and_reading(variables: t.Mapping[str, t.Any]) -> tuple[str, Variables]:
    """The text of an entry file, and the variables as they will be read. Raises ValueError as `entry_text`."""
    try:
        text: str = yaml.safe_dump(dict(variables), sort_keys=False, width=1000)
        as_read = _parse(text)  # half a surrogate pair can be written, but not read
    except (yaml.YAMLError, ValueError):
        raise ValueError("holds a value that YAML cannot represent") from None
    if re.search(_TEMPLATE_MARK, text):
        raise ValueError("holds template marks, which Ansible would evaluate when it reads the file")
    return "---\n" + HEADER + text, as_read


def _load(path: str) -> Variables | None:
    """The variables of an entry file, None if it does not exist. Raises RegistryError, which names the file."""
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
    """The variables in the text of an entry file. Raises ValueError if it is not a mapping."""
    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"is not valid YAML{f' (line {mark.line + 1})' if mark else ''}") from None
    if not isinstance(data, dict):
        raise ValueError("is empty" if data is None else "holds no mapping of host variables")
    return data


def _write(path: str, variables: Variables) -> Variables:
    """Write an entry file, and return the variables as they will be read. Raises OSError and RegistryError."""
    try:
        text, as_read = _text_and_reading(variables)
    except ValueError as error:
        raise RegistryError(f"The registry file {path} cannot be written: it {error}.") from None
    write_durably(path, text)
    return as_read


# Files


def read_text(path: str) -> str | None:
    """The file's text, None if it does not exist. Raises OSError or UnicodeError if it cannot be read."""
    with contextlib.suppress(NotADirectoryError), unless_missing(path), open(path, encoding="utf-8") as file:
        return file.read()
    return None


@contextlib.contextmanager
def unless_missing(path: str) -> t.Iterator[None]:
    """Skip the rest of the block if the file or folder does not exist.

    If a link leads to nothing, such as to a disk that is not mounted, what it names may exist: raises OSError.
    """
    try:
        yield
    except FileNotFoundError:
        folder = os.path.dirname(path)
        for item in (path, folder, os.path.dirname(folder)):
            if os.path.islink(item) and not os.path.exists(item):
                raise OSError(errno.ENXIO, f"the link {item} leads to nothing") from None


def readable_text(path: str) -> str:
    """The file's text, empty if it cannot be read."""
    with contextlib.suppress(OSError, UnicodeError):
        return read_text(path) or ""
    return ""


def write_or_remove(path: str, text: str | None) -> None:
    """Write a file, or remove it for a ``text`` of None, durably. Raises OSError; see `write_durably`."""
    if text is not None:
        write_durably(path, text)
        return
    folder = os.path.dirname(os.path.abspath(path))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        sync_folder(folder)


def write_durably(path: str, text: str) -> None:
    """Replace a file in one step, with mode 0600: after a crash the whole old or the whole new file is on disk.

    Raises OSError, and leaves the old file as it is. A device, which root would replace by a file, is refused.
    """
    path = os.path.realpath(path)  # replaces the target of a link, not the link
    folder = os.path.dirname(path)
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise OSError(errno.EINVAL, "it is not a regular file")
    make_folder(folder)
    # If a crash leaves it behind, Ansible does not read it, since its name begins with a dot, nor is it code of a run.
    handle, temporary = tempfile.mkstemp(prefix=".compute_index_supply.", suffix=".tmp", dir=folder)
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
def as_registry_error(failure: str, kind: type[RegistryError] = RegistryError) -> t.Iterator[None]:
    """Turn a file system's error into one of this ``kind``: ``failure``, as ``The file X cannot be read``, and why.

    If another run holds a lock for too long, it may be writing: that is always a plain RegistryError.
    """
    try:
        yield
    except (OSError, UnicodeError) as error:
        of_kind = RegistryError if isinstance(error, TimeoutError) else kind
        raise of_kind(f"{failure}: {reason_of(error)}.") from None


def reason_of(error: BaseException) -> str:
    """Why a file cannot be read or written, as the end of a sentence."""
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# Locks: one for the time of a write, and one that a purchase holds to its end. A lock is a file with a lock of the
# kernel on it, which ends with its process, however that ends: a file that was left behind locks nothing.

LOCK_TIMEOUT = 20.0  # seconds; a write takes less
HOLD_TIMEOUT = 0.5  # seconds; to see whether a host is held, a run takes this lock for a moment
PAUSE = 0.02  # seconds
# Ansible does not read files whose name begins with a dot.
_BUYING = ".compute_index_supply.buying"
_UNNAMED_RUN = "another process"


@contextlib.contextmanager
def locked(path: str) -> t.Iterator[None]:
    """Lock a file against other processes and threads, and make its folder if need be. Raises OSError.

    Removes the folder at the end if it is empty: Ansible would read it instead of a host's file of the same name.
    """
    folder, name = os.path.split(os.path.realpath(path))
    lock = f".{name.lstrip('.')}.lock"
    handle = _lock(folder, lock, LOCK_TIMEOUT)
    try:
        yield
    finally:
        unlock(folder, lock, handle)


def _lock(folder: str, file: str, seconds: float) -> int:
    """Wait for a lock, at most so many seconds, and return its handle. Raises TimeoutError; see also `try_lock`."""
    deadline = time.monotonic() + seconds
    while (handle := try_lock(folder, file)) is None:
        if time.monotonic() >= deadline:
            raise TimeoutError(f"another process has held the lock of {folder} for {seconds:g} seconds")
        time.sleep(PAUSE)
    return handle


def try_lock(folder: str, file: str) -> int | None:
    """Lock a file and return its handle, or None if another run has locked it. Makes folder and file if need be.

    Raises OSError, also if the file system has no locks.
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
            return handle  # else the file was removed meanwhile, and its lock is worth nothing
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        os.close(handle)
        raise OSError(
            error.errno,
            f"its file system has no locks ({error.strerror}), which concurrent runs need. Set provision_registry_dir"
            " to a folder elsewhere, or use a shared registry (provision_registry_url)",
        ) from None
    os.close(handle)
    return None


def unlock(folder: str, file: str, handle: int) -> None:
    """Release a lock, and remove the folder if nothing else is in it. Never raises."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, file))
        os.rmdir(folder)
    os.close(handle)


class Hold:
    """A run's hold on a host's folder, from before a purchase is sent until its result is noted.

    Safety does not rest on it, since an offer is sold only once; it keeps two runs from doing the same at once. Other
    runs read ``who``.
    """

    def __init__(self, folder: str, who: str) -> None:
        self._folder = folder
        self._who = who
        self._handle: int | None = None

    def take(self) -> str:
        """Hold the folder, or return the name of the other run that does; empty if this run does. Raises OSError."""
        if self._handle is None:
            try:
                self._handle = _lock(self._folder, _BUYING, HOLD_TIMEOUT)
            except TimeoutError:
                return holder_of(self._folder) or _UNNAMED_RUN
            os.truncate(self._handle, 0)
            os.write(self._handle, self._who.encode())
        return ""

    def other(self) -> str:
        """The name of the other run that holds the folder, empty if none does."""
        return holder_of(self._folder) if self._handle is None else ""

    def release(self) -> None:
        """Release the folder. Never raises."""
        handle, self._handle = self._handle, None
        if handle is not None:
            unlock(self._folder, _BUYING, handle)


def holder_of(folder: str) -> str:
    """The name of the run that holds the folder for a purchase; empty if none does, or if that cannot be read."""
    path = os.path.join(folder, _BUYING)
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() or _UNNAMED_RUN
    return ""


def make_folder(folder: str) -> None:
    """Make a folder and its parents, accessible to their owner only, whatever the umask. Raises OSError."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    if parent != folder:
        make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        sync_folder(parent)


def sync_folder(folder: str) -> None:
    """Bring the names in a folder to disk. Some network file systems cannot do that, and need not."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
