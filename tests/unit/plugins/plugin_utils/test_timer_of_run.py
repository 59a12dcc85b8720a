# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer of a run of ansible-playbook: its command line, and its state on this computer."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._operations.timer import TIMER, timer
from ansible_collections.compute_index.supply.plugins.module_utils._provision.timer import Timer, TimerState
from ansible_collections.compute_index.supply.plugins.plugin_utils import _timer

CRONTAB = "#!/bin/sh\nprintf '%s\\n' '0 4 * * * backup' '#Ansible: {}' '*/5 * * * * /bin/sh x' '# end'\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with an inventory, and with ansible-playbook as the only program on PATH."""
    (tmp_path / "hosts").touch()
    (tmp_path / "bin").mkdir()
    write(tmp_path / "bin" / "ansible-playbook", "")
    for name, value in (("HOME", tmp_path), ("PATH", tmp_path / "bin"), ("XDG_RUNTIME_DIR", tmp_path / "run")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("COMPUTE_INDEX_API_TOKEN", "secret")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "bin" / "ansible-playbook"), "x"])
    set_options(monkeypatch)
    return tmp_path


def set_options(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Set the options of ansible-playbook's command line."""
    monkeypatch.setattr(_timer.context, "CLIARGS", options)


def write(program: Path, text: str) -> None:
    program.write_text(text)
    program.chmod(0o755)


def test_timer_repeats_command_line_of_the_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_options(
        monkeypatch,
        extra_vars=("a=b",),
        vault_ids=["x@y"],
        vault_password_files=["/p"],
        private_key_file="/k",
        ask_vault_pass=True,
    )
    found = _timer.gathered(["/etc/ansible/hosts", str(home / "hosts"), "gpu-1,"], str(home))
    options = ["--vault-id", "x@y", "--vault-password-file", "/p", "--private-key", "/k"]
    assert found["timer"]["command"] == [
        *(str(home / "bin" / "ansible-playbook"), "-i", str(home / "hosts"), "-i", "gpu-1,", "-e", "a=b"),
        *(*options, "compute_index.supply.reap"),
    ]
    assert found["asks"] and not found["by_job"]
    assert "COMPUTE_INDEX_API_TOKEN" in found["variables"] and "secret" not in str(found)


def test_missing_inventory_is_refused_and_its_timer_can_be_removed(home: Path) -> None:
    """A misspelled path was once ignored: the timer of runs without an inventory was made or removed instead."""
    (home / "hosts").unlink()
    path = str(home / "hosts")
    with pytest.raises(Failure, match=f"The inventory {path} does not exist.*Nothing was changed"):
        timer(params(home), check_mode=False)
    installed = timer({**params(home), "missing": []}, check_mode=False)
    removed = timer(params(home, state="absent"), check_mode=False)
    assert removed["name"] == installed["name"] != Timer((), str(home), str(home)).name


def test_timer_runs_ansible_playbook_of_this_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = home / "other"
    other.mkdir()
    write(other / "ansible-playbook", "")
    monkeypatch.setattr("sys.executable", str(other / "python"))
    assert _timer._program() == str(home / "bin" / "ansible-playbook")
    monkeypatch.setattr("sys.argv", ["/x/ansible-navigator"])
    assert _timer._program() == str(other / "ansible-playbook")
    (other / "ansible-playbook").unlink()
    assert _timer._program() == str(home / "bin" / "ansible-playbook")


def test_observed_reads_crontab_and_files(home: Path) -> None:
    run_timer = Timer((), str(home), str(home))
    initial = TimerState(**_timer._observed(run_timer))
    assert replace(initial, user="", runtime="", now=0.0) == TimerState()

    write(home / "bin" / "crontab", CRONTAB.format(run_timer.name))
    Path(run_timer.folder).mkdir(parents=True)
    Path(run_timer.file("sweep")).write_text("text")
    Path(run_timer.file("last")).write_text("3\n")
    found = TimerState(**_timer._observed(run_timer))
    assert (found.has_crontab, found.line, found.code) == (True, "*/5 * * * * /bin/sh x", "3")
    assert found.now >= found.swept_at >= found.made_at > 0 and not found.has_systemd


@pytest.mark.parametrize("state", ["active", "inactive"])
def test_observed_reads_systemd_timer(home: Path, state: str) -> None:
    """With the right XDG_RUNTIME_DIR, even if `su` has left another one in the environment."""
    run_timer = Timer((), str(home), str(home))
    where = f'[ "$XDG_RUNTIME_DIR" = /run/user/{os.getuid()} ] || exit 1'
    write(home / "bin" / "systemctl", f"#!/bin/sh\n{where}\necho ActiveState={state}\n")
    write(home / "bin" / "loginctl", "#!/bin/sh\necho Linger=yes\n")
    Path(run_timer.units).mkdir(parents=True)
    Path(run_timer.unit).write_text("OnCalendar=*:0/5\n")
    found = TimerState(**_timer._observed(run_timer))
    assert found.has_systemd and found.lingers and found.user == pwd.getpwuid(os.getuid()).pw_name
    assert found.schedule == ("systemd: OnCalendar=*:0/5" if state == "active" else "")


def test_crontab_that_hangs_counts_as_empty(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_timer, "_SECONDS", 0.2)
    write(home / "bin" / "crontab", "#!/bin/sh\nexec /bin/sleep 60\n")
    assert not _timer._observed(Timer((), str(home), str(home)))["line"]


def params(home: Path, **options: Any) -> dict[str, Any]:
    usual = {"state": "present", "every": "15m", "limited": False}
    found = _timer.gathered([str(home / "hosts")], str(home))
    return {**usual, **found, "observed": {**found["observed"], "has_crontab": True}, **options}


def test_step_timer_returns_all_fields_of_its_result(home: Path) -> None:
    done = timer(params(home), check_mode=False)
    assert done.keys() == TIMER.blank.keys()
    assert (done["minutes"], done["is_due"], done["cron"]) == (15, True, "present") and done["folder"] in done["job"]
    assert timer(params(home, state="show"), check_mode=False)["lines"]
    for wrong in ({"every": "1h"}, {"limited": True}, {"by_job": True}):
        with pytest.raises(Failure, match=r"reap_timer_every|--limit|AWX"):
            timer(params(home, **wrong), check_mode=False)
