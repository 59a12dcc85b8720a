# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer of sweeps on a computer: a timer of the user's systemd, or a line of cron. Both run the same script.

Whether leases are enforced is another question, since a timer may run and fail: see `lease.unswept`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import typing as t
from dataclasses import dataclass

from .._text import applicable, duration, formatted, printable
from . import lease
from .messages import WHOLE_SWEEP

TOKEN = "COMPUTE_INDEX_API_TOKEN"
PRESENT, ABSENT, SHOW = "present", "absent", "show"
# The environment variables that a sweep gets: for this collection, Ansible and PostgreSQL's client, and to find
# programs, certificates and proxies.
_PREFIXES = ("COMPUTE_INDEX_", "ANSIBLE_", "PG")
_NAMES = frozenset(
    {
        *("HOME", "PATH", "PYTHONPATH", "LANG", "LC_ALL", "LC_CTYPE", "NETRC"),
        *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
# Minutes between sweeps. They divide an hour; sweeps an hour apart would sometimes be late
_EVERY = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)

Result = dict[str, t.Any]


@dataclass(frozen=True)
class Timer:
    """The timer of one inventory: the ``command`` of its sweeps, which runs in the folder ``here``.

    ``sources``: the absolute paths of the inventory; empty without one. ``project``: of this run's extra variables, if
    any.
    """

    sources: t.Sequence[str]
    here: str
    home: str
    command: t.Sequence[str] = ()
    project: str = ""

    @property
    def name(self) -> str:
        """The name of its units or its line of cron, which is unique for each inventory and project."""
        whole = "\0".join((*(self.sources or (self.here,)), "", self.project))
        return f"supply-reap-{hashlib.sha256(whole.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"

    @property
    def folder(self) -> str:
        """The folder of its script, and of the result of the last sweep."""
        return os.path.join(self.home, ".config", self.name)

    def file(self, name: str) -> str:
        """A file there: the script ``sweep``, its last exit code ``last``, or its last ``output``."""
        return os.path.join(self.folder, name)

    @property
    def units(self) -> str:
        """The folder of its two units."""
        return os.path.join(self.home, ".config", "systemd", "user")

    @property
    def unit(self) -> str:
        """The file of the unit with the schedule."""
        return os.path.join(self.units, f"{self.name}.timer")

    @property
    def job(self) -> str:
        """The command in cron's line, where ``%`` must be escaped, since it would begin a new line."""
        return f"/bin/sh {shlex.quote(self.file('sweep'))}".replace("%", r"\%")

    @property
    def script(self) -> str:
        """The end of the script, after the environment: it runs a sweep, and keeps its exit code and output."""
        command = " ".join(map(shlex.quote, self.command))
        return (
            "umask 077\n"
            f"cd {shlex.quote(self.folder)} || exit\n"
            f"(cd {shlex.quote(self.here)} && exec {command}) >output 2>&1\n"
            "echo $? >last\n"
        )


@dataclass(frozen=True)
class TimerState:
    """The state of a timer on this computer, and of its last sweep. Moments are seconds since the epoch.

    ``user``: its user. ``has_systemd``: whether this user's systemd runs (in ``runtime``), and ``lingers``: also
    without a login. ``unit``: the text of the unit with the schedule; ``is_active``: whether systemd uses it. ``line``:
    the line of cron. Both are empty if missing. ``code``: the exit code of the last sweep; empty before the first.
    ``swept_at``: when that was noted. ``made_at``: when the script was written.
    """

    user: str = ""
    runtime: str = ""
    has_systemd: bool = False
    lingers: bool = False
    has_crontab: bool = False
    unit: str = ""
    is_active: bool = False
    line: str = ""
    code: str = ""
    swept_at: float = 0.0
    made_at: float = 0.0
    now: float = 0.0

    @property
    def schedule(self) -> str:
        """The schedule of the sweeps, and who runs them; empty if nothing does."""
        times = re.search(r"^OnCalendar=.*", self.unit, re.MULTILINE)
        return f"systemd: {times[0]}" if times and self.is_active else self.line and f"crontab: {self.line}"

    @property
    def is_proved(self) -> bool:
        """Whether a sweep of the current script has succeeded."""
        return self.code == "0" and self.swept_at >= self.made_at


def minutes_of(every: str) -> int:
    """The minutes between two sweeps. Raises ValueError with a sentence for people."""
    try:
        minutes = duration(every) / 60
    except ValueError as error:
        raise ValueError(f"reap_timer_every {error}.") from None
    if minutes not in _EVERY:
        allowed = ", ".join(f"{number}m" for number in _EVERY)
        raise ValueError(f"reap_timer_every must be one of {allowed}, not '{printable(every, 60)}'.")
    return int(minutes)


def variables_for_sweeps(environment: t.Iterable[str]) -> list[str]:
    """The names of the variables in the environment that a sweep gets."""
    names = (name for name in environment if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII))
    return sorted(name for name in names if name.startswith(_PREFIXES) or name.upper() in _NAMES)


def command_of(program: str, sources: t.Iterable[str], extra: t.Iterable[str], options: t.Iterable[str]) -> list[str]:
    """The command of a sweep. ``extra``: the values of this run's ``-e``. ``options``: its other options."""
    inventory = [word for source in sources for word in ("-i", source)]
    variables = [word for text in extra for word in ("-e", text)]
    return [program, *inventory, *variables, *options, "compute_index.supply.reap"]


def check(
    state: str,
    names: t.Container[str],
    observed: TimerState,
    *,
    missing: t.Sequence[str],
    limited: bool,
    asks: bool,
    by_job: bool,
) -> None:
    """Raise ValueError, with a sentence for people, if this run cannot install a timer.

    ``missing``: inventories that do not exist. A timer can be removed and shown without them, since its name depends
    only on their paths.
    """
    absent, is_made = ", ".join(missing), state == PRESENT
    refusals = {
        WHOLE_SWEEP: limited,
        "AWX runs sweeps by a schedule, 'GPU reap every quarter of an hour': compute_index.supply.awx_setup makes"
        " it.": is_made and by_job,
        f"{TOKEN} is not set, and sweeps need it.": is_made and TOKEN not in names,
        "Sweeps cannot prompt for a vault password: give --vault-password-file.": is_made and asks,
        f"The inventory {printable(absent, 300)} does not exist, so sweeps would use another one.": is_made
        and bool(absent),
        f"No systemd of {observed.user} runs here, and there is no crontab. Run `sudo loginctl enable-linger"
        f" {observed.user}`, install cron, or have something else run compute_index.supply.reap every hour.": (
            is_made and not (observed.has_systemd or observed.has_crontab)
        ),
    }
    for sentence in applicable(refusals):
        raise ValueError(f"{sentence} Nothing was changed.")


def tasks_of_state(state: str, timer: Timer, observed: TimerState, *, check_mode: bool) -> Result:
    """The tasks of the playbook for a state. ``is_due``: it sweeps at once, to prove that the timer works.

    Either systemd or cron runs the timer; the other's is removed. In check mode there may be no unit to start.
    """
    is_made, is_removed = state == PRESENT, state == ABSENT
    by_systemd, by_cron = is_made and observed.has_systemd, is_made and not observed.has_systemd
    units = [timer.unit, f"{timer.units}/{timer.name}.service", f"{timer.units}/timers.target.wants/{timer.name}.timer"]
    return {
        **{"installs": is_made, "by_systemd": by_systemd, "lets_linger": by_systemd and not observed.lingers},
        "starts": by_systemd and not check_mode,
        "changes_cron": by_cron or (bool(observed.line) and (is_removed or by_systemd)),
        "cron": PRESENT if by_cron else ABSENT,
        "stops": is_removed and observed.has_systemd and bool(observed.unit),
        "removed": [timer.folder, *units] if is_removed else units if by_cron else [],
        "is_due": is_made and not observed.is_proved,
    }


def sweep_report(state: str, timer: Timer, observed: TimerState, *, check_mode: bool) -> Result:
    """Lines about the sweeps. ``trouble``: why leases may not be enforced, if they should be."""
    output = f"~/.config/{timer.name}/output"
    swept = formatted(observed.swept_at) if observed.code else "never"
    troubles = {
        "Machines outlive their leases, unless something else runs compute_index.supply.reap. The playbook"
        " compute_index.supply.reap_timer schedules it.": not observed.schedule,
        f"Sweeps are scheduled, but none has finished lately (last: {swept}). Read {output}.": (
            abs(observed.now - observed.swept_at) > lease.SWEEPS
        ),
        f"The last sweep failed at {swept} (exit code {observed.code}), so machines may outlive their leases. Read"
        f" {output}.": observed.code != "0",
    }
    went = {"": "", "0": ", succeeded"}.get(observed.code, ", failed")
    stops = f"Sweeps stop when you log out. `sudo loginctl enable-linger {observed.user}` keeps them running."
    lines = [timer.name, observed.schedule, f"last: {swept}{went}", f"output: {output}"]
    is_expected = {SHOW: True, ABSENT: False}.get(state, not check_mode)
    return {
        "lines": lines if observed.schedule else ["No sweeps are scheduled for this inventory on this computer."],
        "trouble": next(iter(applicable(troubles)), "") if is_expected else "",
        "warnings": [stops] if observed.is_active and not observed.lingers else [],
    }
