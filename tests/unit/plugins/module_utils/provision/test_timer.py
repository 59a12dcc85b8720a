# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer of sweeps: its name, script and variables, the steps for each state, and its report."""

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
TIMER = Timer(("/srv/gpu/inventory",), "/srv/gpu", "/home/me", ("/venv/bin/ansible-playbook", "reap"))
CRON_LINE = "*/15 * * * * /bin/sh /home/me/.config/supply-reap-1/sweep"
BY_CRON = TimerState(
    user="me", has_crontab=True, line=CRON_LINE, code="0", swept_at=NOON - 60, made_at=NOON - 3600, now=NOON
)
UNIT = "[Timer]\nOnCalendar=*:0/15\n"
BY_SYSTEMD = replace(BY_CRON, has_systemd=True, lingers=True, line="", unit=UNIT, is_active=True)
STRANGE = "/srv/a b 'c' \"d\" $HOME `e` %h %n \\f ü\n;g"
ROOT = Path(__file__).resolve().parents[5]


@pytest.mark.parametrize(("every", "minutes"), [("15m", 15), ("900", 15), ("60s", 1), ("0.5h", 30), ("20m", 20)])
def test_minutes_of_reads_interval(every: str, minutes: int) -> None:
    assert timer.minutes_of(every) == minutes


@pytest.mark.parametrize("every", ["", "soon", "15 m", "30s", "0", "7m", "90s", "45m", "1h", "1d"])
def test_minutes_of_refuses_other_intervals(every: str) -> None:
    with pytest.raises(ValueError, match=r"^reap_timer_every must be .*\.$"):
        timer.minutes_of(every)


@given(st.sets(st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple), min_size=2, max_size=4))
def test_different_inventories_have_different_timers(inventories: set[tuple[str, ...]]) -> None:
    distinct = {"\0".join(sources) for sources in inventories}
    assert len({Timer(sources, "/", "/home/me").name for sources in inventories}) == len(distinct)


def test_name_of_timer_does_not_depend_on_folder_or_command() -> None:
    assert replace(TIMER, here="/tmp", command=("other",)).name == TIMER.name


def test_timers_without_inventory_are_told_apart_by_folder() -> None:
    """With one name, a timer of another folder would replace the first, and its machines would outlive their leases."""
    assert len({replace(TIMER, sources=(), here=here).name for here in ("/srv/a", "/srv/b")}) == 2


def test_each_project_of_an_inventory_has_its_own_timer() -> None:
    """With one name, the second timer would replace the first, and no sweep would end the first project's machines."""
    assert len({replace(TIMER, project=project).name for project in ("", "a", "b")}) == 3


def test_sweeps_get_only_needed_environment_variables() -> None:
    names = ["COMPUTE_INDEX_API_TOKEN", "ANSIBLE_CONFIG", "PGPASSWORD", "https_proxy", "HOME", "PATH", "LC_ALL"]
    others = ["SSH_AUTH_SOCK", "OLDPWD", "AWS_SECRET_ACCESS_KEY", "XDG_RUNTIME_DIR", "BASH_FUNC_x%%", "ANSIBLE_A B"]
    assert timer.variables_for_sweeps([*names, *others]) == sorted(names)


def test_command_of_sweep_repeats_inventories_and_options() -> None:
    extra = ["@vars.yml", "reap_grace=1h x=y"]
    command = timer.command_of("ansible-playbook", ["/a b", "c,"], extra, ["--vault-id", "x@y"])
    variables = ["-e", "@vars.yml", "-e", "reap_grace=1h x=y"]
    assert command == [
        *("ansible-playbook", "-i", "/a b", "-i", "c,", *variables, "--vault-id", "x@y", "compute_index.supply.reap"),
    ]


def test_script_runs_in_paths_with_special_characters_and_notes_exit_code(tmp_path: Path) -> None:
    home = tmp_path / STRANGE.lstrip("/")
    here = home / STRANGE.lstrip("/")
    here.mkdir(parents=True)
    program = home / "program"
    program.write_text('#!/bin/sh\npwd; printf "%s\\n" "$@"; exit 3\n')
    program.chmod(0o755)
    installed = Timer((STRANGE,), str(here), str(home), (str(program), "-e", STRANGE))
    Path(installed.folder).mkdir(parents=True)
    Path(installed.file("sweep")).write_text(installed.script)

    # Like cron, which removes the backslash before the shell sees the line
    assert "%" not in installed.job.replace(r"\%", "")
    subprocess.run(["/bin/sh", "-c", installed.job.replace(r"\%", "%")], env={"PATH": "/usr/bin:/bin"}, check=False)
    assert Path(installed.file("output")).read_text() == f"{here}\n-e\n{STRANGE}\n"
    assert Path(installed.file("last")).read_text() == "3\n"
    assert os.stat(installed.file("last")).st_mode & 0o777 == 0o600

    # A sweep that cannot begin is noted as well.
    here.rename(tmp_path / "moved")
    subprocess.run(["/bin/sh", installed.file("sweep")], check=False)
    assert Path(installed.file("last")).read_text() not in ("3\n", "0\n", "")


@pytest.mark.parametrize(
    ("change", "expected_text"),
    [
        ({"limited": True}, "leave --limit out"),
        ({"by_job": True}, "GPU reap every quarter of an hour"),
        ({"asks": True}, "--vault-password-file"),
        ({"names": ()}, "COMPUTE_INDEX_API_TOKEN is not set"),
        ({"missing": ["/srv/gpu/inventroy"]}, "The inventory /srv/gpu/inventroy does not exist"),
        ({"observed": TimerState(user="me")}, "No systemd of me runs here, and there is no crontab"),
    ],
)
def test_timer_that_cannot_sweep_is_refused(change: dict[str, object], expected_text: str) -> None:
    usual: dict[str, object] = {"names": (timer.TOKEN,), "observed": BY_CRON, "missing": ()}
    usual = {**usual, "limited": False, "asks": False, "by_job": False}
    for observed in (BY_CRON, replace(BY_SYSTEMD, has_crontab=False)):
        timer.check("present", **{**usual, "observed": observed})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{expected_text}.*Nothing was changed"):
        timer.check("present", **{**usual, **change})  # type: ignore[arg-type]
    if "limited" not in change:
        timer.check("absent", **{**usual, **change})  # type: ignore[arg-type]
        timer.check("show", **{**usual, **change})  # type: ignore[arg-type]


def test_schedule_has_its_name_in_awx_setup() -> None:
    kit = yaml.safe_load((ROOT / "playbooks" / "vars" / "awx" / "templates.yml").read_text())
    assert lease.SCHEDULE in [item["name"] for item in kit["awx_schedules"]]


@pytest.mark.parametrize(
    ("change", "is_proved"),
    [
        ({}, True),
        ({"code": ""}, False),
        ({"code": "2"}, False),
        ({"made_at": NOON - 30}, False),
    ],
)
def test_timer_is_proved_by_successful_sweep_after_it_was_made(change: dict[str, Any], is_proved: bool) -> None:
    assert replace(BY_CRON, **change).is_proved is is_proved


@pytest.mark.parametrize(
    ("state", "observed", "expected"),
    [
        ("present", BY_SYSTEMD, {"by_systemd"}),
        ("present", replace(BY_SYSTEMD, lingers=False), {"by_systemd", "lets_linger"}),
        ("present", BY_CRON, {"cron: present", "removes units"}),
        # The last sweep of this timer has failed, or the timer has not swept yet.
        ("present", replace(BY_CRON, code="2"), {"cron: present", "removes units", "is_due"}),
        ("show", replace(BY_CRON, code=""), set()),
        ("absent", replace(BY_CRON, code=""), {"cron: absent", "removes units", "removes folder"}),
        # Systemd was installed or removed since.
        ("present", replace(BY_SYSTEMD, line=CRON_LINE), {"by_systemd", "cron: absent"}),
        ("present", replace(BY_CRON, unit=UNIT), {"cron: present", "removes units"}),
        ("absent", BY_CRON, {"cron: absent", "removes units", "removes folder"}),
        ("absent", BY_SYSTEMD, {"stops", "removes units", "removes folder"}),
        ("absent", replace(BY_SYSTEMD, has_systemd=False), {"removes units", "removes folder"}),
        ("absent", replace(BY_SYSTEMD, unit="", is_active=False), {"removes units", "removes folder"}),
        # Without crontab, no line of it is removed.
        ("absent", TimerState(), {"removes units", "removes folder"}),
        ("show", BY_CRON, set()),
        ("show", BY_SYSTEMD, set()),
    ],
)
def test_tasks_of_state_use_either_systemd_or_cron(state: str, observed: TimerState, expected: set[str]) -> None:
    tasks = timer.tasks_of_state(state, TIMER, observed, check_mode=False)
    changes = {name for name in ("by_systemd", "lets_linger", "stops", "is_due") if tasks[name]}
    changes |= {f"cron: {tasks['cron']}"} if tasks["changes_cron"] else set()
    changes |= {"removes units"} if TIMER.unit in tasks["removed"] else set()
    changes |= {"removes folder"} if TIMER.folder in tasks["removed"] else set()
    assert changes == expected and tasks["installs"] is (state == "present")
    assert tasks["starts"] is tasks["by_systemd"]
    assert not timer.tasks_of_state(state, TIMER, observed, check_mode=True)["starts"]


NOT_SCHEDULED = "No sweeps are scheduled for this inventory on this computer."
OUTLIVE = "Machines outlive their leases, unless something else runs compute_index.supply.reap."


@pytest.mark.parametrize(
    ("change", "line", "trouble"),
    [
        ({}, "last: 2027-01-15 07:59 UTC, succeeded", ""),
        ({"code": "2"}, "last: 2027-01-15 07:59 UTC, failed", "(exit code 2), so machines may outlive"),
        ({"code": "", "swept_at": 0.0}, "last: never", "none has finished lately (last: never)"),
        ({"swept_at": NOON - 4501}, "succeeded", "none has finished lately (last: 2027"),
        ({"swept_at": NOON - 4499}, "succeeded", ""),
        # The clock was set back since.
        ({"swept_at": NOON + 4501}, "succeeded", "none has finished lately"),
    ],
)
@pytest.mark.parametrize("scheduled", [BY_CRON, BY_SYSTEMD])
def test_sweep_report_names_last_sweep_and_trouble(
    scheduled: TimerState, change: dict[str, Any], line: str, trouble: str
) -> None:
    report = timer.sweep_report("show", TIMER, replace(scheduled, **change), check_mode=False)
    assert any(line in text for text in report["lines"]), report["lines"]
    assert trouble in report["trouble"] and bool(trouble) is bool(report["trouble"])


def test_sweep_report_names_schedule_and_warns_without_linger() -> None:
    assert (BY_CRON.schedule, BY_SYSTEMD.schedule) == (f"crontab: {CRON_LINE}", "systemd: OnCalendar=*:0/15")
    report = timer.sweep_report("show", TIMER, replace(BY_SYSTEMD, lingers=False), check_mode=False)
    assert "enable-linger me` keeps them running" in report["warnings"][0] and not report["trouble"]
    for goes_on in (BY_SYSTEMD, BY_CRON):
        assert timer.sweep_report("show", TIMER, goes_on, check_mode=False)["warnings"] == []


@pytest.mark.parametrize(
    "observed",
    [replace(BY_CRON, line=""), replace(BY_SYSTEMD, is_active=False), replace(BY_SYSTEMD, unit=""), TimerState()],
)
def test_sweep_report_without_schedule_is_trouble(observed: TimerState) -> None:
    """For example after the line was removed by hand, or before a timer was installed."""
    states = [("show", False), ("show", True), ("present", False), ("present", True), ("absent", False)]
    reports = [timer.sweep_report(state, TIMER, observed, check_mode=check_mode) for state, check_mode in states]
    assert [report["lines"] for report in reports] == [[NOT_SCHEDULED]] * 5
    assert [report["trouble"][: len(OUTLIVE)] for report in reports] == [OUTLIVE, OUTLIVE, OUTLIVE, "", ""]
