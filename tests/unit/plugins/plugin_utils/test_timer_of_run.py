# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of ansible-playbook is, and what there is of its timer."""

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
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an inventory, a program and nothing else on PATH."""
    (tmp_path / "hosts").touch()
    (tmp_path / "bin").mkdir()
    write(tmp_path / "bin" / "ansible-playbook", "")
    for name, value in (("HOME", tmp_path), ("PATH", tmp_path / "bin"), ("XDG_RUNTIME_DIR", tmp_path / "run")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("COMPUTE_INDEX_API_TOKEN", "secret")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "bin" / "ansible-playbook"), "x"])
    given(monkeypatch)
    return tmp_path


def given(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """What was typed after ansible-playbook."""
    monkeypatch.setattr(_timer.context, "CLIARGS", options)


def write(program: Path, text: str) -> None:
    program.write_text(text)
    program.chmod(0o755)


def test_a_run_is_repeated_as_it_was_typed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(
        monkeypatch,
        extra_vars=("a=b",),
        vault_ids=["x@y"],
        vault_password_files=["/p"],
        private_key_file="/k",
        ask_vault_pass=True,
    )
    found = _timer.gathered(["/etc/ansible/hosts", str(here / "hosts"), "gpu-1,"], str(here))
    options = ["--vault-id", "x@y", "--vault-password-file", "/p", "--private-key", "/k"]
    assert found["timer"]["command"] == [
        *(str(here / "bin" / "ansible-playbook"), "-i", str(here / "hosts"), "-i", "gpu-1,", "-e", "a=b"),
        *(*options, "compute_index.supply.reap"),
    ]
    assert found["asks"] and not found["by_job"]
    assert "COMPUTE_INDEX_API_TOKEN" in found["variables"] and "secret" not in str(found)


def test_an_inventory_that_is_not_there_has_its_own_timer(here: Path) -> None:
    """A slip in its path was left out, and the timer that ran or was removed was that of runs without inventory."""
    (here / "hosts").unlink()
    path = str(here / "hosts")
    with pytest.raises(Failure, match=f"There is no inventory {path}.*Nothing was changed"):
        timer(params(here), check_mode=False)
    installed = timer({**params(here), "missing": []}, check_mode=False)
    removed = timer(params(here, state="absent"), check_mode=False)
    assert removed["name"] == installed["name"] != Timer((), str(here), str(here)).name


def test_the_program_is_the_one_that_runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = here / "other"
    other.mkdir()
    write(other / "ansible-playbook", "")
    monkeypatch.setattr("sys.executable", str(other / "python"))
    assert _timer._program() == str(here / "bin" / "ansible-playbook")
    monkeypatch.setattr("sys.argv", ["/x/ansible-navigator"])
    assert _timer._program() == str(other / "ansible-playbook")
    (other / "ansible-playbook").unlink()
    assert _timer._program() == str(here / "bin" / "ansible-playbook")


def test_what_there_is_of_it(here: Path) -> None:
    one = Timer((), str(here), str(here))
    nothing = TimerState(**_timer._observed(one))
    assert replace(nothing, user="", runtime="", now=0.0) == TimerState()

    write(here / "bin" / "crontab", CRONTAB.format(one.name))
    Path(one.folder).mkdir(parents=True)
    Path(one.file("sweep")).write_text("text")
    Path(one.file("last")).write_text("3\n")
    found = TimerState(**_timer._observed(one))
    assert (found.has_crontab, found.line, found.code) == (True, "*/5 * * * * /bin/sh x", "3")
    assert found.now >= found.swept_at >= found.made_at > 0 and not found.has_systemd


@pytest.mark.parametrize("state", ["active", "inactive"])
def test_what_there_is_of_it_at_systemd(here: Path, state: str) -> None:
    """It is reached where it is, whatever `su` has left in the environment."""
    one = Timer((), str(here), str(here))
    where = f'[ "$XDG_RUNTIME_DIR" = /run/user/{os.getuid()} ] || exit 1'
    write(here / "bin" / "systemctl", f"#!/bin/sh\n{where}\necho ActiveState={state}\n")
    write(here / "bin" / "loginctl", "#!/bin/sh\necho Linger=yes\n")
    Path(one.units).mkdir(parents=True)
    Path(one.unit).write_text("OnCalendar=*:0/5\n")
    found = TimerState(**_timer._observed(one))
    assert found.has_systemd and found.lingers and found.user == pwd.getpwuid(os.getuid()).pw_name
    assert found.schedule == ("systemd: OnCalendar=*:0/5" if state == "active" else "")


def test_a_cron_that_does_not_answer_has_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_timer, "_SECONDS", 0.2)
    write(here / "bin" / "crontab", "#!/bin/sh\nexec /bin/sleep 60\n")
    assert not _timer._observed(Timer((), str(here), str(here)))["line"]


def params(here: Path, **options: Any) -> dict[str, Any]:
    usual = {"state": "present", "every": "15m", "limited": False}
    found = _timer.gathered([str(here / "hosts")], str(here))
    return {**usual, **found, "observed": {**found["observed"], "has_crontab": True}, **options}


def test_the_step_answers_with_all_that_the_playbook_takes(here: Path) -> None:
    done = timer(params(here), check_mode=False)
    assert done.keys() == TIMER.blank.keys()
    assert (done["minutes"], done["is_due"], done["cron"]) == (15, True, "present") and done["folder"] in done["job"]
    assert timer(params(here, state="show"), check_mode=False)["lines"]
    for wrong in ({"every": "1h"}, {"limited": True}, {"by_job": True}):
        with pytest.raises(Failure, match=r"reap_timer_every|--limit|AWX"):
            timer(params(here, **wrong), check_mode=False)
