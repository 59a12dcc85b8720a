# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs sweeps: names, texts, what is done for a state, and how sweeps go."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._provision import lease, timer
from ansible_collections.compute_index.supply.plugins.module_utils._provision.timer import Timer, TimerState
from hypothesis import given
from hypothesis import strategies as st

NOON = 1_800_000_000.0  # 2027-01-15 08:00 UTC
ONE = Timer(("/srv/gpu/inventory",), "/srv/gpu", "/home/me", ("/venv/bin/ansible-playbook", "reap"))
LINE_OF_CRON = "*/15 * * * * /bin/sh /home/me/.config/supply-reap-1/sweep"
RUNNING = TimerState(
    user="me", has_crontab=True, line=LINE_OF_CRON, code="0", swept_at=NOON - 60, made_at=NOON - 3600, now=NOON
)
UNIT = "[Timer]\nOnCalendar=*:0/15\n"
OF_SYSTEMD = replace(RUNNING, has_systemd=True, lingers=True, line="", unit=UNIT, is_active=True)
STRANGE = "/srv/a b 'c' \"d\" $HOME `e` %h %n \\f ü\n;g"
ROOT = Path(__file__).resolve().parents[5]


@pytest.mark.parametrize(("every", "minutes"), [("15m", 15), ("900", 15), ("60s", 1), ("0.5h", 30), ("20m", 20)])
def test_how_often(every: str, minutes: int) -> None:
    assert timer.minutes_of(every) == minutes


@pytest.mark.parametrize("every", ["", "soon", "15 m", "30s", "0", "7m", "90s", "45m", "1h", "1d"])
def test_how_often_not(every: str) -> None:
    with pytest.raises(ValueError, match=r"^reap_timer_every must be .*\.$"):
        timer.minutes_of(every)


@given(st.sets(st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple), min_size=2, max_size=4))
def test_different_inventories_have_different_timers(inventories: set[tuple[str, ...]]) -> None:
    distinct = {"\0".join(sources) for sources in inventories}
    assert len({Timer(sources, "/", "/home/me").name for sources in inventories}) == len(distinct)


def test_the_same_inventory_has_the_same_timer_wherever_it_is_run_from() -> None:
    assert replace(ONE, here="/tmp", command=("other",)).name == ONE.name


def test_each_project_of_an_inventory_has_its_own_timer() -> None:
    """The second one took the place of the first, whose project no sweep ended any more."""
    assert len({replace(ONE, project=project).name for project in ("", "a", "b")}) == 3


def test_what_sweeps_get_of_the_environment() -> None:
    names = ["COMPUTE_INDEX_API_TOKEN", "ANSIBLE_CONFIG", "PGPASSWORD", "https_proxy", "HOME", "PATH", "LC_ALL"]
    others = ["SSH_AUTH_SOCK", "OLDPWD", "AWS_SECRET_ACCESS_KEY", "XDG_RUNTIME_DIR", "BASH_FUNC_x%%", "ANSIBLE_A B"]
    assert timer.variables_for_sweeps([*names, *others]) == sorted(names)


def test_a_sweep_is_the_same_command() -> None:
    extra = ["@vars.yml", "reap_grace=1h x=y"]
    command = timer.command_of("ansible-playbook", ["/a b", "c,"], extra, ["--vault-id", "x@y"])
    variables = ["-e", "@vars.yml", "-e", "reap_grace=1h x=y"]
    assert command == [
        *("ansible-playbook", "-i", "/a b", "-i", "c,", *variables, "--vault-id", "x@y", "compute_index.supply.reap"),
    ]


def test_the_script_runs_in_strange_places_and_notes_what_became_of_it(tmp_path: Path) -> None:
    home = tmp_path / STRANGE.lstrip("/")
    here = home / STRANGE.lstrip("/")
    here.mkdir(parents=True)
    program = home / "program"
    program.write_text('#!/bin/sh\npwd; printf "%s\\n" "$@"; exit 3\n')
    program.chmod(0o755)
    one = Timer((STRANGE,), str(here), str(home), (str(program), "-e", STRANGE))
    Path(one.folder).mkdir(parents=True)
    Path(one.file("sweep")).write_text(one.script)

    # As cron does: it takes the backslash away before the shell sees the line.
    assert "%" not in one.job.replace(r"\%", "")
    subprocess.run(["/bin/sh", "-c", one.job.replace(r"\%", "%")], env={"PATH": "/usr/bin:/bin"}, check=False)
    assert Path(one.file("output")).read_text() == f"{here}\n-e\n{STRANGE}\n"
    assert Path(one.file("last")).read_text() == "3\n"
    assert os.stat(one.file("last")).st_mode & 0o777 == 0o600

    # What cannot even begin is noted, too.
    here.rename(tmp_path / "moved")
    subprocess.run(["/bin/sh", one.file("sweep")], check=False)
    assert Path(one.file("last")).read_text() not in ("3\n", "0\n", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"limited": True}, "leave --limit out"),
        ({"by_job": True}, "GPU reap every quarter of an hour"),
        ({"asks": True}, "--vault-password-file"),
        ({"names": ()}, "COMPUTE_INDEX_API_TOKEN is not set"),
        ({"missing": ["/srv/gpu/inventroy"]}, "There is no inventory /srv/gpu/inventroy"),
        ({"observed": TimerState(user="me")}, "No systemd of me runs here, and there is no crontab"),
    ],
)
def test_runs_that_no_timer_can_be_made_of(change: dict[str, object], said: str) -> None:
    usual: dict[str, object] = {"names": (timer.TOKEN,), "observed": RUNNING, "missing": ()}
    usual = {**usual, "limited": False, "asks": False, "by_job": False}
    timer.check("present", **usual)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{said}.*Nothing was changed"):
        timer.check("present", **{**usual, **change})  # type: ignore[arg-type]
    if "limited" not in change:
        timer.check("absent", **{**usual, **change})  # type: ignore[arg-type]
        timer.check("show", **{**usual, **change})  # type: ignore[arg-type]


def test_the_schedule_is_that_of_the_kit() -> None:
    kit = yaml.safe_load((ROOT / "playbooks" / "vars" / "awx" / "templates.yml").read_text())
    assert lease.SCHEDULE in [item["name"] for item in kit["awx_schedules"]]


@pytest.mark.parametrize(
    ("change", "proved"),
    [
        ({}, True),
        ({"code": ""}, False),
        ({"code": "2"}, False),
        ({"made_at": NOON - 30}, False),
    ],
)
def test_a_sweep_proves_that_a_timer_works(change: dict[str, Any], proved: bool) -> None:
    assert replace(RUNNING, **change).is_proved is proved


@pytest.mark.parametrize(
    ("state", "observed", "done"),
    [
        ("present", OF_SYSTEMD, {"by_systemd"}),
        ("present", replace(OF_SYSTEMD, lingers=False), {"by_systemd", "lets_linger"}),
        ("present", RUNNING, {"cron: present", "removes units"}),
        # Systemd has come since, or has gone.
        ("present", replace(OF_SYSTEMD, line=LINE_OF_CRON), {"by_systemd", "cron: absent"}),
        ("present", replace(RUNNING, unit=UNIT), {"cron: present", "removes units"}),
        ("absent", RUNNING, {"cron: absent", "removes units", "removes folder"}),
        ("absent", OF_SYSTEMD, {"stops", "removes units", "removes folder"}),
        ("absent", replace(OF_SYSTEMD, has_systemd=False), {"removes units", "removes folder"}),
        # Without crontab none is asked for a line that it has not.
        ("absent", TimerState(), {"removes units", "removes folder"}),
        ("show", RUNNING, set()),
        ("show", OF_SYSTEMD, set()),
    ],
)
def test_one_of_systemd_and_cron_runs_sweeps(state: str, observed: TimerState, done: set[str]) -> None:
    found = timer.tasks_of_state(state, ONE, observed, check_mode=False)
    told = {name for name in ("by_systemd", "lets_linger", "stops") if found[name]}
    told |= {f"cron: {found['cron']}"} if found["changes_cron"] else set()
    told |= {"removes units"} if ONE.unit in found["removed"] else set()
    told |= {"removes folder"} if ONE.folder in found["removed"] else set()
    assert told == done and found["installs"] is (state == "present")
    assert found["starts"] is found["by_systemd"]
    assert not timer.tasks_of_state(state, ONE, observed, check_mode=True)["starts"]


NONE = "No sweeps are scheduled for this inventory on this computer."
OUTLIVE = "Machines outlive their leases, unless something else runs compute_index.supply.reap."


@pytest.mark.parametrize(
    ("change", "line", "trouble"),
    [
        ({}, "last: 2027-01-15 07:59 UTC, succeeded", ""),
        ({"code": "2"}, "last: 2027-01-15 07:59 UTC, failed", "(exit code 2), so machines may outlive"),
        ({"code": "", "swept_at": 0.0}, "last: never", "none has ended lately (last: never)"),
        ({"swept_at": NOON - 4501}, "succeeded", "none has ended lately (last: 2027"),
        ({"swept_at": NOON - 4499}, "succeeded", ""),
        # A clock was set back since.
        ({"swept_at": NOON + 4501}, "succeeded", "none has ended lately"),
    ],
)
@pytest.mark.parametrize("scheduled", [RUNNING, OF_SYSTEMD])
def test_how_sweeps_go(scheduled: TimerState, change: dict[str, Any], line: str, trouble: str) -> None:
    shown = timer.sweep_report("show", ONE, replace(scheduled, **change), check_mode=False)
    assert any(line in text for text in shown["lines"]), shown["lines"]
    assert trouble in shown["trouble"] and bool(trouble) is bool(shown["trouble"])


def test_what_runs_sweeps() -> None:
    assert (RUNNING.schedule, OF_SYSTEMD.schedule) == (f"crontab: {LINE_OF_CRON}", "systemd: OnCalendar=*:0/15")
    shown = timer.sweep_report("show", ONE, replace(OF_SYSTEMD, lingers=False), check_mode=False)
    assert "enable-linger me` lets them go on" in shown["warnings"][0] and not shown["trouble"]


@pytest.mark.parametrize("observed", [replace(RUNNING, line=""), replace(OF_SYSTEMD, is_active=False), TimerState()])
def test_that_nothing_runs_sweeps_is_trouble_where_something_should(observed: TimerState) -> None:
    """A line that was removed by hand, and a timer that nobody had installed, were shown in green."""
    tried = [("show", False), ("show", True), ("present", False), ("present", True), ("absent", False)]
    reports = [timer.sweep_report(state, ONE, observed, check_mode=check_mode) for state, check_mode in tried]
    assert [report["lines"] for report in reports] == [[NONE]] * 5
    assert [report["trouble"][: len(OUTLIVE)] for report in reports] == [OUTLIVE, OUTLIVE, OUTLIVE, "", ""]
