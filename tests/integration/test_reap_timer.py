# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer of sweeps, with a crontab program that only edits a file, and a systemctl that only notes its state."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import MakeProject, Project, Run

CRONTAB = """#!/bin/sh
case "$1" in
  -l) cat "$HOME/crontab" 2>/dev/null ;;
  *) cat "$1" >"$HOME/crontab" ;;
esac
"""
# systemd is available if the file exists; the file has the timer's state.
SYSTEMCTL = """#!/bin/sh
state="$HOME/.ansible_systemd"
[ -e "$state" ] || exit 1
case "$*" in
  *--property=ActiveState) echo "ActiveState=$(cat "$state")" ;;
  *" show "*) echo LoadState=loaded; echo "ActiveState=$(cat "$state")" ;;
  *" is-enabled "*) echo disabled; exit 1 ;;
  *" start "*) echo active >"$state" ;;
  *" stop "*) echo inactive >"$state" ;;
esac
"""
LOGINCTL = """#!/bin/sh
case "$1" in
  show-user) cat "$HOME/.ansible_linger" ;;
  *) echo Linger=yes >"$HOME/.ansible_linger" ;;
esac
"""
OTHER_JOBS = "# mine\n0 4 * * * backup\n"
TOKEN = "a-token-that-nobody-may-see"


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    project = make_project(token=TOKEN)
    programs = project.folder / "programs"
    programs.mkdir()
    for name, text in (("crontab", CRONTAB), ("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    project.environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    home(project).joinpath("crontab").write_text(OTHER_JOBS)
    project.declare(["gpu-1"], provision_lease="8h")
    (project.folder / "group_vars").mkdir()
    (project.folder / "group_vars" / "all.yml").write_text("ansible_become: true\nansible_become_user: daemon\n")
    return project


def home(project: Project) -> Path:
    return project.folder / "home"


def reap_timer(project: Project, *words: str, state: str = "present", **environment: str) -> Run:
    """Run the playbook `reap_timer`."""
    variables = ("-e", f"reap_timer_state={state}")
    return project.play("compute_index.supply.reap_timer", *variables, *words, **environment)


def home_files(project: Project) -> dict[str, str]:
    """The contents of all files in the home folder by path, without those of Ansible and SSH."""
    files = [file for file in home(project).rglob("*") if file.is_file()]
    places = {str(file.relative_to(home(project))): file for file in files}
    return {name: file.read_text() for name, file in places.items() if not name.startswith((".ansible", ".ssh"))}


def test_a_timer_is_installed_shown_and_removed(project: Project) -> None:
    warned = project.play("compute_index.supply.quote")
    assert warned.text.count("compute_index.supply.reap_timer installs a timer for it.") == 1, warned.output

    checked = reap_timer(project, "--check", "--diff")
    assert checked.returncode == 0 and home_files(project) == {"crontab": OTHER_JOBS}, checked.output
    assert "+*/15 * * * * /bin/sh" in checked.output and TOKEN not in checked.output

    installed = reap_timer(project, "-vvvvv", "--diff")
    assert installed.returncode == 0 and TOKEN not in installed.output, installed.output
    assert ", succeeded" in installed.text and "crontab: */15 * * * * /bin/sh" in installed.text
    files = home_files(project)
    ((environment, secret),) = [item for item in files.items() if TOKEN in item[1]]
    assert os.stat(home(project) / environment).st_mode & 0o777 == 0o600
    assert f"export COMPUTE_INDEX_API_URL={project.simulator.url}\n" in secret
    assert files["crontab"].startswith(OTHER_JOBS) and files["crontab"].count("\n") == 4

    # The registry has noted a sweep before anything is bought.
    assert "A lease ends nothing on its own" not in project.play("compute_index.supply.quote").text

    again = reap_timer(project)
    assert (again.returncode, again.changed) == (0, 0), again.output
    assert home_files(project) == files

    # Another project of the inventory has its own timer, in addition to the first.
    for state in ("present", "absent"):
        other = reap_timer(project, "-e", "provision_project=other", state=state)
        assert other.returncode == 0 and files.keys() <= home_files(project).keys(), other.output
        assert (home_files(project) == files) is (state == "absent")
        assert (home_files(project)["crontab"].count("\n"), state) in ((6, "present"), (4, "absent"))

    # A new token causes a sweep at once, whose failure is reported.
    failed = reap_timer(project, COMPUTE_INDEX_API_TOKEN="another")
    assert failed.changed == 2  # the script and the sweep
    assert failed.returncode == 2 and "The last sweep failed at" in failed.failure("localhost"), failed.output
    status = reap_timer(project, state="show")
    assert (status.returncode, status.changed) == (2, 0) and "/output." in status.failure("localhost"), status.output

    removed = reap_timer(project, state="absent")
    assert removed.returncode == 0 and home_files(project) == {"crontab": OTHER_JOBS}, removed.output
    assert not list(home(project).glob(".config/*"))

    status = reap_timer(project, state="show")
    assert status.returncode == 2 and "Machines outlive their leases" in status.failure("localhost"), status.output


def test_systemd_timer_replaces_the_cron_job_if_available(project: Project) -> None:
    """Many systems have no cron."""
    reap_timer(project)
    state = home(project) / ".ansible_systemd"
    state.write_text("inactive\n")
    checked = reap_timer(project, "--check", "--diff", "-e", "reap_timer_every=10m")
    assert checked.returncode == 0 and "+OnCalendar=*:0/10" in checked.output, checked.output
    assert state.read_text() == "inactive\n"

    installed = reap_timer(project)
    assert installed.returncode == 0 and '"systemd: OnCalendar=*:0/15"' in installed.text, installed.output
    files = home_files(project)
    assert files["crontab"] == OTHER_JOBS and state.read_text() == "active\n"
    assert (home(project) / ".ansible_linger").read_text() == "Linger=yes\n"
    units = {name.rpartition(".")[2]: text for name, text in files.items() if "/systemd/user/" in name}
    assert units.keys() == {"service", "timer"} and TOKEN not in str(units)
    name = next(Path(name).stem for name in files if name.endswith(".timer"))
    assert f'ExecStart=/bin/sh "%h/.config/{name}/sweep"\n' in units["service"]
    assert f".config/{name}/sweep" in files

    state.write_text("inactive\n")
    stopped = reap_timer(project, state="show")
    assert stopped.returncode == 2 and "Machines outlive their leases" in stopped.failure("localhost"), stopped.output
    removed = reap_timer(project, state="absent")
    assert removed.returncode == 0 and home_files(project) == {"crontab": OTHER_JOBS}, removed.output


def test_timer_with_limit_is_refused(project: Project) -> None:
    refused = reap_timer(project, "--limit", "gpu-1")
    assert refused.returncode == 2 and "leave --limit out. Nothing was changed." in refused.text, refused.output
    assert home_files(project) == {"crontab": OTHER_JOBS}
