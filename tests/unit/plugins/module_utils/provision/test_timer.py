# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs sweeps: names, texts, what is done for a state, and how sweeps go."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._provision import lease, timer
from ansible_collections.compute_index.supply.plugins.module_utils._provision.timer import Timer, TimerState
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE, utc
from hypothesis import given
from hypothesis import strategies as st

NOON = 1_800_000_000.0  # 2027-01-15 08:00 UTC
ONE = Timer(("/srv/gpu/inventory",), "/srv/gpu", "/home/me", ("/venv/bin/ansible-playbook", "reap"))
SYSTEMD = TimerState(
    user="me", has_systemd=True, has_crontab=True, runs_systemd=True, lingers=True, runtime="/run/user/7"
)
CRON = TimerState(user="me", has_crontab=True)
STRANGE = "/srv/a b 'c' \"d\" $HOME `e` %h %n \\f ü\n;g"
ROOT = Path(__file__).resolve().parents[5]


def swept(began: float, code: int = 0) -> str:
    return f"{utc(began)} {utc(began + 5)} {code}\n"


RUNNING = replace(
    SYSTEMD,
    files=(ONE.unit("service"), ONE.unit("timer"), ONE.folder),
    is_active=True,
    interval=15,
    last=swept(NOON - 60),
    changed_at=NOON - 3600,
    now=NOON,
)


@pytest.mark.parametrize(("every", "minutes"), [("15m", 15), ("900", 15), ("60s", 1), ("0.5h", 30), ("20m", 20)])
def test_how_often(every: str, minutes: int) -> None:
    assert timer.minutes_of(every) == minutes


@pytest.mark.parametrize("every", ["", "soon", "15 m", "30s", "0", "7m", "90s", "45m", "1h", "1d"])
def test_how_often_not(every: str) -> None:
    with pytest.raises(ValueError, match=r"^reap_timer_every must be .*\.$"):
        timer.minutes_of(every)


@pytest.mark.parametrize(
    ("sources", "here", "beginning"),
    [
        (("/srv/gpu/inventory",), "/", "supply-reap-gpu-inventory-"),
        (("/srv/gpu/inventory/",), "/", "supply-reap-gpu-inventory-"),
        (("gpu-1,",), "/", "supply-reap-gpu-1-"),
        ((), "/home/me", "supply-reap-home-me-"),
        (("/Übung/Äpfel",), "/", "supply-reap-bung-pfel-"),
        (("/",), "/", "supply-reap-"),
        ((STRANGE,), "/", "supply-reap-srv-a-b-c-d-home-e-"),
        (("/x/" + "y" * 300,), "/", "supply-reap-x-"),
    ],
)
def test_a_name_says_which_inventory_it_is_for(sources: tuple[str, ...], here: str, beginning: str) -> None:
    name = Timer(sources, here, "/home/me").name
    assert name.startswith(beginning)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and len(name) <= 40


@given(st.sets(st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple), min_size=2, max_size=4))
def test_different_inventories_have_different_timers(inventories: set[tuple[str, ...]]) -> None:
    distinct = {"\0".join(sources) for sources in inventories}
    assert len({Timer(sources, "/", "/home/me").name for sources in inventories}) == len(distinct)


def test_the_same_inventory_has_the_same_timer_wherever_it_is_run_from() -> None:
    assert replace(ONE, here="/tmp", command=("other",), minutes=5).name == ONE.name


def test_each_project_of_an_inventory_has_its_own_timer() -> None:
    """The second one took the place of the first, whose project no sweep ended any more."""
    assert len({replace(ONE, project=project).name for project in ("", "a", "b")}) == 3


def test_what_sweeps_get_of_the_environment() -> None:
    names = ["COMPUTE_INDEX_API_TOKEN", "ANSIBLE_CONFIG", "PGPASSWORD", "https_proxy", "HOME", "PATH", "LC_ALL"]
    others = ["SSH_AUTH_SOCK", "OLDPWD", "AWS_SECRET_ACCESS_KEY", "XDG_RUNTIME_DIR", "BASH_FUNC_x%%", "ANSIBLE_A B"]
    assert timer.handed_on([*names, *others]) == sorted(names)


def test_a_sweep_is_the_same_command() -> None:
    extra = ["@vars.yml", "reap_timer_every=5m", "reap_timer_state=present reap_timer_every=1m", "reap_grace=1h x=y"]
    command = timer.command_of("ansible-playbook", ["/a b", "c,"], extra, ["--vault-id", "x@y"])
    variables = ["-e", "@vars.yml", "-e", "reap_grace=1h x=y"]
    assert command == [
        *("ansible-playbook", "-i", "/a b", "-i", "c,", *variables, "--vault-id", "x@y", "compute_index.supply.reap"),
    ]


# The texts


def test_the_script_runs_in_strange_places_and_notes_what_became_of_it(tmp_path: Path) -> None:
    home = tmp_path / STRANGE.lstrip("/")
    here = home / STRANGE.lstrip("/")
    here.mkdir(parents=True)
    program = home / "program"
    program.write_text('#!/bin/sh\npwd; printf "%s\\n" "$@" "$TOKEN"; exit 3\n')
    program.chmod(0o755)
    one = Timer((STRANGE,), str(here), str(home), (str(program), "-e", STRANGE))
    Path(one.folder).mkdir(parents=True)
    Path(one.file("environment")).write_text(f"export TOKEN={shlex.quote(STRANGE)}\n")
    Path(one.file("sweep")).write_text(timer.script(one))

    # As cron does: it takes the backslash away before the shell sees the line.
    installed = timer.install(one, timer.CRON, timer.TimerState(), [], check_mode=False)
    job = installed["cron"][0]["job"]
    assert "%" not in job.replace(r"\%", "")
    done = subprocess.run(["/bin/sh", "-c", job.replace(r"\%", "%")], env={"PATH": "/usr/bin:/bin"}, check=False)
    assert done.returncode == 3
    assert Path(one.file("output")).read_text() == f"{here}\n-e\n{STRANGE}\n{STRANGE}\n"
    last = timer.last_of(TimerState(last=Path(one.file("last")).read_text()))
    assert last is not None and last.code == 3 and 0 <= last.ended - last.began < 60
    assert os.stat(one.file("last")).st_mode & 0o777 == 0o600

    # What cannot even begin is noted, too.
    here.rename(tmp_path / "moved")
    assert subprocess.run(["/bin/sh", one.file("sweep")], stderr=subprocess.DEVNULL, check=False).returncode != 0
    later = timer.last_of(TimerState(last=Path(one.file("last")).read_text()))
    assert later is not None and later.code != 0


def test_units_say_paths_as_systemd_reads_them() -> None:
    one = replace(ONE, sources=("/srv/50 %h",), home='/home/o "d" %h $x \\')
    unit = timer.service(one)
    assert "Description=End GPU machines whose lease is over (/srv/50 %%h)\n" in unit
    assert r'ExecStart=/bin/sh "/home/o \"d\" %%h $$x \\/.config/supply-reap-srv-50-h-' in unit
    assert "OnCalendar=*:0/5\nPersistent=true\n" in timer.timer_unit(replace(one, minutes=5))
    strange = timer.service(replace(ONE, sources=(STRANGE,)))
    assert [line.partition("=")[0] for line in strange.splitlines() if "=" in line] == [
        *("Description", "Type", "TimeoutStartSec", "ExecStart"),
    ]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for text, kind in ((timer.service(ONE), "service"), (timer.timer_unit(ONE), "timer")):
        (tmp_path / f"{ONE.name}.{kind}").write_text(text)
    files = list(map(str, tmp_path.iterdir()))
    command = ["systemd-analyze", "verify", "--man=no", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if ONE.name in line], done.stderr
    for minutes in (1, 15, 30):
        event = f"*:0/{minutes}"
        assert event in timer.timer_unit(replace(ONE, minutes=minutes))
        subprocess.run(["systemd-analyze", "calendar", event], capture_output=True, check=True)


def test_what_is_written_has_no_secret() -> None:
    done = timer.install(ONE, "systemd", SYSTEMD, [timer.TOKEN], check_mode=False)
    assert done["environment"] == [{"path": ONE.file("environment"), "names": [timer.TOKEN]}]
    assert [item["mode"] for item in done["files"]] == ["0600", "0644", "0644"]
    assert not any("TOKEN" in item["content"] for item in done["files"])


# What is done for a state


@pytest.mark.parametrize(
    ("wanted", "observed", "scheduler"),
    [
        ("", SYSTEMD, "systemd"),
        ("", CRON, "cron"),
        ("cron", SYSTEMD, "cron"),
        ("systemd", CRON, "is not run by systemd"),
        ("", TimerState(), "has no crontab"),
        ("cron", replace(SYSTEMD, has_crontab=False), "has no crontab"),
    ],
)
def test_what_runs_sweeps(wanted: str, observed: TimerState, scheduler: str) -> None:
    if scheduler in ("systemd", "cron"):
        assert timer.scheduler_of(wanted, observed) == scheduler
    else:
        with pytest.raises(ValueError, match=scheduler):
            timer.scheduler_of(wanted, observed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"limited": True}, "leave --limit out"),
        ({"by_job": True}, "GPU reap every quarter of an hour"),
        ({"asks": True}, "--vault-password-file"),
        ({"names": ()}, "COMPUTE_INDEX_API_TOKEN is not set"),
        ({"missing": ["/srv/gpu/inventroy"]}, "There is no inventory /srv/gpu/inventroy"),
        ({"command": ("-e", "provision_registry_url=postgresql://me:pw@db/x")}, "a password or a token"),
        ({"command": ("-e", '{"ansible_become_password": "pw"}')}, "a password or a token"),
        ({"command": ("-e", "api_token=x")}, "a password or a token"),
    ],
)
def test_runs_that_no_timer_can_be_made_of(change: dict[str, object], said: str) -> None:
    usual: dict[str, object] = {"names": (timer.TOKEN,), "limited": False, "asks": False, "by_job": False}
    words = (
        "-e",
        "@secrets.yml",
        "-e",
        "vault_password_file=/p",
        "--vault-password-file",
        "/p",
        "-e",
        "x=http://h:80/",
    )
    usual = {**usual, "missing": (), "command": words}
    timer.check("present", **usual)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{said}.*Nothing was changed"):
        timer.check("present", **{**usual, **change})  # type: ignore[arg-type]
    if "limited" not in change:
        timer.check("absent", **{**usual, **change})  # type: ignore[arg-type]
        timer.check("show", **{**usual, **change})  # type: ignore[arg-type]


def test_the_schedule_is_that_of_the_kit() -> None:
    kit = yaml.safe_load((ROOT / "playbooks" / "vars" / "awx" / "templates.yml").read_text())
    assert lease.SCHEDULE in [item["name"] for item in kit["awx_schedules"]]


START = [{"name": f"{ONE.name}.timer", "state": "started", "enabled": True}]
HALF = replace(SYSTEMD, files=(ONE.unit("timer"),))


@pytest.mark.parametrize(
    ("observed", "check_mode", "linger", "waits", "units"),
    [
        (SYSTEMD, False, 0, 0, START),
        (SYSTEMD, True, 0, 0, []),
        (HALF, True, 0, 0, START),
        (replace(SYSTEMD, lingers=False), False, 1, 0, START),
        (replace(SYSTEMD, lingers=False, runs_systemd=False), False, 1, 1, START),
        (replace(HALF, lingers=False, runs_systemd=False), True, 1, 1, []),
    ],
)
def test_installed_with_systemd(
    observed: TimerState, check_mode: bool, linger: int, waits: int, units: list[dict[str, object]]
) -> None:
    done = timer.install(ONE, "systemd", observed, [timer.TOKEN], check_mode=check_mode)
    assert (done["units"], len(done["linger"]), len(done["waits"])) == (units, linger, waits)
    assert "cron" not in done and done["folders"] == [ONE.folder, "/home/me/.config/systemd/user"]
    assert all("sudo loginctl enable-linger me" in wait["msg"] for wait in done["waits"])


def test_installed_with_cron() -> None:
    done = timer.install(replace(ONE, minutes=10), "cron", CRON, [timer.TOKEN], check_mode=False)
    (line,) = done["cron"]
    assert (line["state"], line["minute"]) == ("present", "*/10")
    assert [item["path"] for item in done["files"]] == [ONE.file("sweep")]
    assert not {"units", "linger", "waits"} & done.keys()


@pytest.mark.parametrize(
    ("observed", "stops", "lines"),
    [
        (SYSTEMD, 0, 0),
        (RUNNING, 1, 0),
        (replace(RUNNING, runs_systemd=False), 0, 0),
        (replace(CRON, in_crontab=True, files=(ONE.folder,)), 0, 1),
        (replace(RUNNING, in_crontab=True), 1, 1),
    ],
)
def test_removed(observed: TimerState, stops: int, lines: int) -> None:
    done = timer.remove(ONE, observed)
    assert (len(done["units"]), len(done["cron"]), bool(done["forget"])) == (stops, lines, bool(stops))
    assert done["removed"] == list(observed.files)


@pytest.mark.parametrize(
    ("state", "observed", "check_mode", "sweeps"),
    [
        ("present", RUNNING, False, ""),
        ("present", replace(RUNNING, last=""), False, "systemctl"),
        ("present", replace(RUNNING, last=swept(NOON - 60, 2)), False, "systemctl"),
        ("present", replace(RUNNING, changed_at=NOON - 30), False, "systemctl"),
        ("present", replace(RUNNING, last=swept(NOON - 60), changed_at=NOON - 59.5), False, ""),
        ("present", replace(RUNNING, last="", is_sweeping=True), False, ""),
        ("present", replace(RUNNING, last=""), True, ""),
        ("absent", replace(RUNNING, last=""), False, ""),
        ("show", replace(RUNNING, last=""), False, ""),
        ("present", replace(CRON, in_crontab=True), False, "env"),
    ],
)
def test_a_sweep_proves_that_a_timer_works(state: str, observed: TimerState, check_mode: bool, sweeps: str) -> None:
    words = timer.due(state, ONE, observed, check_mode=check_mode).get("sweeps", [])
    assert [command[0] for command in words] == ([sweeps] if sweeps else [])


# How sweeps go


@pytest.mark.parametrize("text", ["", "x", "a b 0", swept(NOON, 0)[:-2], "2027-01-15T08:00:00Z 0", swept(NOON, 1234)])
def test_a_note_that_cannot_be_read_is_none(text: str) -> None:
    assert timer.last_of(TimerState(last=text)) is None


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        (timer.timer_unit(ONE), 15),
        ("*/5 * * * * /bin/sh x", 5),
        ("0 4 * * * /bin/sh x", 0),
        ("", 0),
        ("# */5\nOnCalendar=daily\n", 0),
    ],
)
def test_how_often_one_that_is_there_runs(text: str, minutes: int) -> None:
    assert timer.interval_of(text) == minutes


@pytest.mark.parametrize(
    ("now", "minutes", "offset", "then"),
    [
        (NOON, 15, 0, NOON + 900),
        (NOON + 1, 15, 0, NOON + 900),
        (NOON - 1, 30, 0, NOON),
        (NOON, 20, 5.5 * 3600, NOON + 600),  # in India the clock says half past
    ],
)
def test_when_the_next_sweep_is(now: float, minutes: int, offset: float, then: float) -> None:
    assert timer.next_after(now, minutes, offset) == then


@pytest.mark.parametrize(
    ("change", "line", "trouble"),
    [
        ({}, "last: 2027-01-15 07:59 UTC, succeeded", ""),
        ({"last": swept(NOON - 60, 2)}, "last: 2027-01-15 07:59 UTC, failed", "(exit code 2), so machines may outlive"),
        ({"last": ""}, "last: none yet", "No sweep has come to its end since"),
        ({"changed_at": NOON}, "last: none yet", "No sweep has come to its end since"),
        ({"last": "", "is_sweeping": True}, "a sweep runs now", ""),
        ({"changed_at": 0.0, "last": swept(NOON - 4501)}, "succeeded", "although more were due"),
        ({"changed_at": 0.0, "last": swept(NOON - 4499)}, "succeeded", ""),
        # A clock was set back since.
        ({"changed_at": 0.0, "last": swept(NOON + 4501)}, "succeeded", "although more were due"),
        ({"is_active": False}, "last: ", "is installed but does not run"),
    ],
)
def test_how_sweeps_go(change: dict[str, object], line: str, trouble: str) -> None:
    one = replace(ONE, sources=("/srv/" + "x" * 80,))
    shown = timer.sweep_report(one, replace(RUNNING, **change))  # type: ignore[arg-type]
    assert any(line in text for text in shown["lines"]), shown["lines"]
    assert trouble in shown["trouble"] and bool(trouble) is bool(shown["trouble"])
    assert all(len(text) <= LINE for text in shown["lines"])
    assert shown["warnings"] == []


def test_a_timer_that_ends_with_the_login_is_told() -> None:
    (warning,) = timer.sweep_report(ONE, replace(RUNNING, lingers=False))["warnings"]
    assert "`sudo loginctl enable-linger me`" in warning


def test_where_there_is_no_timer() -> None:
    shown = timer.sweep_report(ONE, SYSTEMD)
    assert shown == {"lines": ["No sweeps are scheduled for this inventory on this computer."]}
