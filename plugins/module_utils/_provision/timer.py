# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs sweeps on a computer: a timer of systemd, or a line of cron. What its files say, and how it does.

Both run the same script. It alone has to quote paths, and it notes how a sweep went. Whether leases are enforced is
another question, which the registry's mark answers (`lease.unswept`): a timer may run and fail.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import typing as t
from dataclasses import dataclass

from .._text import applying, duration, formatted, lasting, printable, seconds_of
from . import lease
from .messages import WHOLE_SWEEP

TOKEN = "COMPUTE_INDEX_API_TOKEN"
PRESENT, ABSENT, SHOW = "present", "absent", "show"
SYSTEMD, CRON = "systemd", "cron"
# Which variables of the environment a sweep gets: those of this collection, of Ansible and of PostgreSQL's client, and
# what says how programs, certificates and proxies are found.
_PREFIXES = ("COMPUTE_INDEX_", "ANSIBLE_", "PG")
_NAMES = frozenset(
    {
        *("HOME", "PATH", "PYTHONPATH", "LANG", "LC_ALL", "LC_CTYPE", "NETRC"),
        *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
# Minutes between sweeps, by which an hour can be divided; those an hour apart would be late now and then
_EVERY = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)
_LIMIT = "25h"  # longer than the longest last command; a sweep that hangs must not hold up all others for ever
_SLUG = 19  # characters of a name that say which inventory it is: the command that shows its output fits on a line
_OWN = re.compile(r"\s*(?:reap_timer_\w+=\S*\s*)+")  # an extra variable that sweeps do not need

# An extra variable that is secret: the name of one, or an address with a password
_SECRET = re.compile(r"(?:token|password|passwd|secret|_pass)\W{0,2}\s*[=:]|://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)

Result = dict[str, t.Any]


@dataclass(frozen=True)
class Timer:
    """The sweeps of one inventory: their name, the command that runs one, and how often (``minutes``).

    ``sources``: the inventory as absolute paths, empty if there is none; ``here``: the folder to run in. ``project``:
    as an extra variable says for this run, else empty.
    """

    sources: t.Sequence[str]
    here: str
    home: str
    command: t.Sequence[str] = ()
    minutes: int = 15
    project: str = ""

    @property
    def name(self) -> str:
        """Of its units: the same for the same inventory and project, and of no other on this computer."""
        paths = self.sources or (self.here,)
        last = "-".join(paths[0].rstrip("/").split("/")[-2:]).lower()
        slug = re.sub(r"[^a-z0-9]+", "-", last)[:_SLUG].strip("-")
        whole = "\0".join((*paths, *(("", self.project) if self.project else ())))
        digest = hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return "-".join(filter(None, ("supply-reap", slug, digest)))

    @property
    def folder(self) -> str:
        """Where its script, its environment and the result of its last sweep are."""
        return os.path.join(self.home, ".config", self.name)

    def file(self, name: str) -> str:
        """A file there."""
        return os.path.join(self.folder, name)

    def unit(self, kind: str) -> str:
        """The file of a unit of the user's systemd."""
        return os.path.join(self.home, ".config", "systemd", "user", f"{self.name}.{kind}")

    @property
    def unit_files(self) -> tuple[str, ...]:
        """All that systemd has of it: what it was given, what enables it, and when it was started last."""
        timer = f"{self.name}.timer"
        return (
            self.unit("service"),
            self.unit("timer"),
            os.path.join(os.path.dirname(self.unit("timer")), "timers.target.wants", timer),
            os.path.join(self.home, ".local", "share", "systemd", "timers", f"stamp-{timer}"),
        )

    @property
    def about(self) -> str:
        """Which inventory it is for, on one line."""
        return printable(", ".join(self.sources) or self.here, 300)


@dataclass(frozen=True)
class TimerState:
    """What there is of a timer on this computer.

    ``has_systemd``, ``has_crontab``: what could run it. ``runs_systemd``: whether the user's own systemd runs, and
    ``lingers`` whether it runs without a login. ``files``: those of `Timer` that exist. ``is_active``, ``is_sweeping``:
    of its units. ``interval``: the minutes that a unit or a line of cron says, 0 if there is none. ``last``: what the
    script noted of the last sweep. ``changed_at``: when its files were changed last (seconds since the epoch).
    """

    user: str = ""
    has_systemd: bool = False
    has_crontab: bool = False
    runs_systemd: bool = False
    lingers: bool = False
    files: t.Sequence[str] = ()
    is_active: bool = False
    is_sweeping: bool = False
    in_crontab: bool = False
    interval: int = 0
    last: str = ""
    changed_at: float = 0.0
    now: float = 0.0
    offset: float = 0.0
    runtime: str = ""

    @property
    def runs(self) -> bool:
        """Whether sweeps will go on."""
        return self.is_active or self.in_crontab


class LastSweep(t.NamedTuple):
    """When the last sweep began and ended (seconds since the epoch), and its exit code."""

    began: float
    ended: float
    code: int


def minutes_of(every: str) -> int:
    """The minutes between two sweeps. Raises ValueError with a sentence for a person."""
    try:
        minutes = duration(every) / 60
    except ValueError as error:
        raise ValueError(f"reap_timer_every {error}.") from None
    if minutes not in _EVERY:
        *usual, longest = (f"{number}m" for number in _EVERY)
        raise ValueError(f"reap_timer_every must be {', '.join(usual)} or {longest}, not '{printable(every, 60)}'.")
    return int(minutes)


def handed_on(environment: t.Iterable[str]) -> list[str]:
    """The names of the variables that a sweep gets, of those that this run has."""
    names = (name for name in environment if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII))
    return sorted(name for name in names if name.startswith(_PREFIXES) or name.upper() in _NAMES)


def command_of(program: str, sources: t.Iterable[str], extra: t.Iterable[str], options: t.Iterable[str]) -> list[str]:
    """The command of a sweep. ``extra``: the values of ``-e`` of this run; ``options``: further ones, as they are."""
    inventory = [word for source in sources for word in ("-i", source)]
    variables = [word for text in extra if not _OWN.fullmatch(text) for word in ("-e", text)]
    return [program, *inventory, *variables, *options, "compute_index.supply.reap"]


def check(
    state: str,
    names: t.Container[str],
    command: t.Iterable[str],
    *,
    missing: t.Sequence[str],
    limited: bool,
    asks: bool,
    by_job: bool,
) -> None:
    """Raise ValueError, with a sentence for a person, for a run that no timer can be made of.

    ``missing``: inventories that are not there. A timer is removed and shown without them: its name has their paths.
    """
    absent, is_made = ", ".join(missing), state == PRESENT
    refusals = {
        WHOLE_SWEEP: limited,
        "AWX runs sweeps by a schedule, 'GPU reap every quarter of an hour': compute_index.supply.awx_setup makes"
        " it.": is_made and by_job,
        f"{TOKEN} is not set, and sweeps need it.": is_made and TOKEN not in names,
        "Sweeps cannot ask for the password of Ansible Vault: give --vault-password-file.": is_made and asks,
        "An extra variable has a password or a token, which the command of each sweep would show. Put it into a file,"
        " as in -e @secrets.yml, or set COMPUTE_INDEX_REGISTRY_URL.": is_made and any(map(_SECRET.search, command)),
        f"There is no inventory {printable(absent, 300)}, so sweeps would be about others.": is_made and bool(absent),
    }
    for sentence in applying(refusals):
        raise ValueError(f"{sentence} {_NOTHING}")


_NOTHING = "Nothing was changed."


def scheduler_of(wanted: str, observed: TimerState) -> str:
    """What is to run it. Raises ValueError with a sentence for a person."""
    scheduler = wanted or (SYSTEMD if observed.has_systemd else CRON)
    if observed.has_systemd if scheduler == SYSTEMD else observed.has_crontab:
        return scheduler
    missing = "is not run by systemd" if scheduler == SYSTEMD else "has no crontab"
    raise ValueError(
        f"This computer {missing}, so reap_timer cannot use {scheduler}. Have something run"
        f" compute_index.supply.reap at least once an hour. {_NOTHING}"
    )


# The texts of its files


def script(timer: Timer) -> str:
    """Runs one sweep, and notes when it began and ended, and its exit code. It has no secret in it."""
    environment, last = shlex.quote(timer.file("environment")), shlex.quote(timer.file("last"))
    command = " ".join(map(shlex.quote, timer.command))
    return (
        "#!/bin/sh\n"
        f"# Runs a sweep for {timer.about}.\n"
        "# The playbook compute_index.supply.reap_timer made this file, overwrites it and removes it.\n"
        "umask 077\n"
        "now() { date -u +%Y-%m-%dT%H:%M:%SZ; }\n"
        "began=$(now)\n"
        f"(. {environment} && cd {shlex.quote(timer.here)} && exec {command})\n"
        "code=$?\n"
        f'echo "$began $(now) $code" >{last}.new && mv {last}.new {last}\n'
        'exit "$code"\n'
    )


def service(timer: Timer) -> str:
    """The unit that runs the script."""
    return (
        "[Unit]\n"
        f"Description=End GPU machines whose lease is over ({_escaped(timer.about)})\n\n"
        "[Service]\n"
        "Type=oneshot\n"
        f"TimeoutStartSec={_LIMIT}\n"
        f"ExecStart=/bin/sh {_word(timer.file('sweep'))}\n"
    )


def timer_unit(timer: Timer) -> str:
    """The unit that starts the other one. A time that the computer has slept through is made up for."""
    return (
        "[Unit]\n"
        f"Description=Every {lasting(timer.minutes * 60)}: {timer.name}.service\n\n"
        "[Timer]\n"
        f"OnCalendar=*:0/{timer.minutes}\n"
        "Persistent=true\n\n"
        "[Install]\n"
        "WantedBy=timers.target\n"
    )


def cron_command(timer: Timer) -> str:
    """What cron runs; it keeps what the last sweep printed."""
    return f"/bin/sh {shlex.quote(timer.file('sweep'))} >{shlex.quote(timer.file('output'))} 2>&1"


def _escaped(text: str) -> str:
    """A text in a unit, whose specifiers begin with ``%``."""
    return text.replace("%", "%%")


def _word(path: str) -> str:
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escaped(quoted)}"'.replace("$", "$$")


# What the tasks do


def install(timer: Timer, scheduler: str, observed: TimerState, names: t.Iterable[str], *, check_mode: bool) -> Result:
    """All that makes a timer run, as lists for loops; ``names``: of the variables that it gets."""
    script_file = {"path": timer.file("sweep"), "content": script(timer), "mode": "0600"}
    files = {
        "folders": [timer.folder],
        "environment": [{"path": timer.file("environment"), "names": list(names)}],
        "files": [script_file],
    }
    if scheduler == CRON:
        job = cron_command(timer).replace("%", r"\%")  # a bare one is a new line to cron
        return {**files, "cron": [{"state": PRESENT, "minute": f"*/{timer.minutes}", "job": job}]}
    texts = {timer.unit("service"): service(timer), timer.unit("timer"): timer_unit(timer)}
    unit_files = [{"path": path, "content": text, "mode": "0644"} for path, text in texts.items()]
    # Nothing is said to systemd of units that check mode has not written.
    has_units = timer.unit("timer") in observed.files and observed.runs_systemd
    units = [{"name": f"{timer.name}.timer", "state": "started", "enabled": True}]
    private = os.path.join(observed.runtime, "systemd", "private")
    nobody = (
        f"No one is logged in as {observed.user}, so systemd runs no timers for this user. Run `sudo loginctl"
        f" enable-linger {observed.user}`, and then compute_index.supply.reap_timer again. {_NOTHING}"
    )
    return {
        **files,
        "folders": [timer.folder, os.path.dirname(timer.unit("timer"))],
        "files": [script_file, *unit_files],
        "linger": [] if observed.lingers else [observed.user],
        # Enabling lingering starts the user's systemd, which takes a moment; if only root may enable it, that fails.
        "waits": [] if observed.runs_systemd else [{"path": private, "msg": nobody}],
        "units": units if has_units or not check_mode else [],
    }


def remove(timer: Timer, observed: TimerState) -> Result:
    """All that takes a timer away, whatever runs it. What was never there is not asked to stop."""
    has_unit = timer.unit("timer") in observed.files and observed.runs_systemd
    name = timer.name
    return {
        "units": [{"name": f"{name}.timer", "state": "stopped", "enabled": False}] if has_unit else [],
        "cron": [{"state": ABSENT, "minute": "*", "job": ""}] if observed.in_crontab else [],
        "removed": list(observed.files),
        "forget": ["daemon-reload", f"reset-failed {name}.timer {name}.service"] if has_unit else [],
    }


def due(state: str, timer: Timer, observed: TimerState, *, check_mode: bool) -> Result:
    """The sweep that proves that a timer works: unless its files, as they are, have had one that succeeded."""
    last = last_of(observed)
    if state != PRESENT or check_mode or observed.is_sweeping or (last and not last.code):
        return {}
    if observed.is_active:
        return {"sweeps": [["systemctl", "--user", "start", f"{timer.name}.service"]]}
    as_cron = ["env", "-i", f"HOME={timer.home}", "PATH=/usr/bin:/bin", "SHELL=/bin/sh"]  # no more than cron gives it
    return {"sweeps": [[*as_cron, "/bin/sh", "-c", cron_command(timer)]]}


# How it does


def last_of(observed: TimerState) -> LastSweep | None:
    """The last sweep of the files as they are; None if none was noted since they were changed, or it cannot be read."""
    words = observed.last.split()
    moments = [seconds_of(word, zoned=True) for word in words[:2]]
    if len(words) != 3 or None in moments or not re.fullmatch(r"[0-9]{1,3}", words[2]):
        return None
    began, ended = t.cast("list[float]", moments)
    return LastSweep(began, ended, int(words[2])) if began + 1 > observed.changed_at else None


def interval_of(text: str) -> int:
    """The minutes that a unit (``*:0/15``) or a line of cron (``*/15``) says; 0 if it says none."""
    minutes = re.search(r"^(?:OnCalendar=\*:0|\*)/([0-9]{1,2})\b", text, re.MULTILINE)
    return int(minutes[1]) if minutes else 0


def next_after(now: float, minutes: int, offset: float) -> float:
    """When the next sweep begins (seconds since the epoch). ``offset``: by how much local time is ahead of UTC."""
    step = minutes * 60
    return ((now + offset) // step + 1) * step - offset


def sweep_report(timer: Timer, observed: TimerState) -> Result:
    """How sweeps do: lines of a screen, in ``trouble`` why leases may not be enforced, and what else is to be known."""
    if not observed.runs and not observed.files:
        return {"lines": ["No sweeps are scheduled for this inventory on this computer."]}
    last = last_of(observed)
    stops = (
        f"Sweeps end when {observed.user} has logged out everywhere, and leases with them. `sudo loginctl enable-linger"
        f" {observed.user}` lets them go on."
    )
    return {
        "lines": [timer.name, *_lines(observed, last), f"output: {_output(timer, observed)}"],
        "trouble": _trouble(timer, observed, last),
        "warnings": [stops] if observed.is_active and not observed.lingers else [],
    }


def _lines(observed: TimerState, last: LastSweep | None) -> t.Iterator[str]:
    if observed.runs:
        minutes = lasting(max(1, observed.interval) * 60)
        yield f"runs every {minutes}, by {SYSTEMD if observed.is_active else CRON}"
    if last:
        yield f"last: {formatted(last.began)}, {'failed' if last.code else 'succeeded'}"
    elif not observed.is_sweeping:
        yield "last: none yet"
    if observed.is_sweeping:
        yield "a sweep runs now"
    if observed.runs:
        yield f"next: {formatted(next_after(observed.now, max(1, observed.interval), observed.offset))}"


def _output(timer: Timer, observed: TimerState) -> str:
    """Where to read what sweeps have printed."""
    return f"~/.config/{timer.name}/output" if observed.in_crontab else f"journalctl --user -u {timer.name}"


def _trouble(timer: Timer, observed: TimerState, last: LastSweep | None) -> str:
    """Why leases may not be enforced; empty if nothing speaks for that."""
    if not observed.runs:
        return f"{timer.name} is installed but does not run. compute_index.supply.reap_timer starts it."
    if not last and not observed.is_sweeping:
        return f"No sweep has come to its end since {timer.name} was changed. Read {_output(timer, observed)}."
    if last and last.code:
        return (
            f"The last sweep failed at {formatted(last.ended)} (exit code {last.code}), so machines may outlive their"
            f" leases. Read {_output(timer, observed)}."
        )
    if last and abs(observed.now - last.began) > lease.SWEEPS and not observed.is_sweeping:
        return f"The last sweep was at {formatted(last.began)}, although more were due. Is cron or systemd at work?"
    return ""


def decide(
    state: str, scheduler: str, timer: Timer, observed: TimerState, names: t.Sequence[str], *, check_mode: bool
) -> Result:
    """What the tasks do for a state. Raises ValueError with a sentence for a person."""
    if state == SHOW:
        return sweep_report(timer, observed)
    if state == ABSENT:
        return remove(timer, observed)
    return install(timer, scheduler_of(scheduler, observed), observed, names, check_mode=check_mode)
