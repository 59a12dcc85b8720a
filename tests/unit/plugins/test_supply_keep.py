# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sampler that machines with ``provision_idle_after`` have, and what the module activity_info makes of it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine import activity

from idle_machine import IDLE, SCRIPT, IdleMachine

HOUR = 3600


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IdleMachine:
    """One that was booted, has been watched for five minutes, and that nobody has used."""
    machine = IdleMachine(tmp_path, monkeypatch)
    machine.sample(6)
    return machine


def test_a_machine_that_nobody_uses_is_idle_since_its_boot(machine: IdleMachine) -> None:
    machine.check("idle", "8 GPUs at 0 %, no SSH connection, load 0.02, network 0.00 MB/s; last in use at", 300)
    machine.sample(60)
    machine.check("idle", "(the machine or this sampler was started)", 300 + HOUR)
    assert stat.S_IMODE(machine.state_file.stat().st_mode) == 0o644
    assert [file.name for file in machine.state_file.parent.iterdir()] == ["state.json"]


def download(machine: IdleMachine) -> None:
    machine.network(61_000_000)


def boot_goes_on(machine: IdleMachine) -> None:
    machine.write("run/cloud-init/enabled", "")


def ssh(title: str, age: float) -> Callable[[IdleMachine], None]:
    return lambda machine: machine.process(300, title, age=age - 60)


def type_at(name: str, seconds_ago: float = 10) -> Callable[[IdleMachine], None]:
    def act(machine: IdleMachine) -> None:
        # The kernel says when a file was changed, so it is the machine's clock that is moved.
        machine.write(f"dev/{name}", "")
        changed = os.stat(machine.root / "dev" / name).st_ctime
        machine.clock = changed + 7200
        os.utime(machine.root / "dev" / name, (changed + 7260 - seconds_ago, changed))

    return act


def on_gpu(used: float, age: float = 7200) -> Callable[[IdleMachine], None]:
    """A process that holds memory of a GPU uses so many seconds of a CPU in the minute until the sample."""

    def act(machine: IdleMachine) -> None:
        machine.process(700, "python3 train.py", age=age)
        machine.smi(IDLE, apps="700")
        if age > 60:
            machine.sample()
        machine.work(700, used)

    return act


def smi(gpus: str) -> Callable[[IdleMachine], None]:
    return lambda machine: machine.smi(gpus)


def smi_script(script: str | None) -> Callable[[IdleMachine], None]:
    return lambda machine: machine.smi_script(script)


def write(name: str, text: str) -> Callable[[IdleMachine], None]:
    return lambda machine: machine.write(name, text)


SEVEN = "0\n" * 7
USES = {
    "the eighth GPU": (smi(f"{SEVEN}97"), "GPU 7 at 97 %"),
    "just above": (smi(f"{SEVEN}6"), "GPU 7 at 6 %"),
    "N/A": (smi(f"{SEVEN}[N/A]"), "gpus unknown: nvidia-smi reports '[N/A]' for GPU 7"),
    "not supported": (smi("[Not Supported]\n" * 8), "nvidia-smi reports '[Not Supported]' for GPU 0"),
    "a unit": (smi(f"{SEVEN}0 %"), "nvidia-smi reports '0 %' for GPU 7"),
    "a negative number": (smi(f"{SEVEN}-1"), "nvidia-smi reports '-1' for GPU 7"),
    "a lost GPU": (smi(SEVEN), "nvidia-smi shows 7 of 8 GPUs"),
    "no GPUs": (smi(""), "nvidia-smi shows 0 of 8 GPUs"),
    "an error": (
        smi_script("#!/bin/sh\nprintf '0\\n0\\n0\\n0\\n0\\n0\\n0\\n0\\n'; exit 15\n"),
        "nvidia-smi fails (15)",
    ),
    "no nvidia-smi": (smi_script(None), "gpus unknown: nvidia-smi cannot be run (No such file or directory)"),
    "no program": (smi_script("nonsense"), "nvidia-smi cannot be run (Exec format error)"),
    "a hang": (smi_script("#!/bin/sh\nsleep 600\n"), "nvidia-smi does not answer within 0.5 seconds"),
    "a child hangs": (smi_script("#!/bin/sh\nsleep 5 & echo x\n"), "nvidia-smi reports 'x' for GPU 0"),
    "noise": (smi_script("#!/bin/sh\nprintf '\\377\\000\\n'\n"), "gpus unknown: nvidia-smi reports"),
    "unreadable processes": (lambda machine: machine.smi(IDLE, apps="[N/A]"), "gpus unknown: "),
    "a hidden process": (lambda machine: machine.smi(IDLE, apps="12345"), "gpus unknown: "),
    "a process on a GPU": (on_gpu(0.7), "process 700, which holds memory of a GPU, is at work"),
    "a new process on a GPU": (on_gpu(0, age=20), "process 700, which holds memory of a GPU, is at work"),
    "load": (write("proc/loadavg", "0.01 0.51 0.03 1/2 3\n"), "load 0.51"),
    "a load that is no number": (write("proc/loadavg", "0.01 nan 0.03 1/2 3\n"), "load nan"),
    "an unreadable load": (write("proc/loadavg", ""), "load unknown: list index out of range"),
    "a download": (download, "network 1.02 MB/s"),
    "a network that went away": (write("proc/net/dev", "head\nhead\n"), "network "),
    "an old SSH connection": (ssh("sshd: ml@pts/0", 301), "an SSH connection"),
    "the same by a newer OpenSSH": (ssh("sshd-session: ml@pts/0,pts/1", 301), "an SSH connection"),
    "rsync": (ssh("sshd: ml@notty", 301), "an SSH connection"),
    "forwarded ports": (ssh("sshd: ml", 301), "an SSH connection"),
    "ports that root forwards": (ssh("sshd: root [priv]", 301), "an SSH connection"),
    "a connection of the future": (ssh("sshd: ml@pts/0", -100), "an SSH connection"),
    "somebody types": (type_at("pts/3"), "somebody types at dev/pts/3"),
    "somebody types at the console": (type_at("ttyS0"), "somebody types at dev/ttyS0"),
    "the clock was set back": (type_at("pts/3", -1000), "somebody types at dev/pts/3"),
    "cloud-init": (boot_goes_on, "cloud-init has not finished"),
}


@pytest.mark.parametrize(("act", "evidence"), USES.values(), ids=USES.keys())
def test_what_counts_as_use(
    machine: IdleMachine, act: Callable[[IdleMachine], None], evidence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.script, "SMI_SECONDS", 0.5)
    if act is USES["no nvidia-smi"][0]:
        monkeypatch.setenv("PATH", str(machine.bin))
    act(machine)
    machine.sample()
    assert evidence in machine.state["why"]
    assert machine.state["active"] == machine.state["at"]


NO_USES = {
    "nothing": lambda machine: None,
    "GPUs at their limit": smi(f"{SEVEN}5"),
    "a process on a GPU that sleeps": on_gpu(0.4),
    "load": write("proc/loadavg", "0.01 0.50 0.03 1/2 3\n"),
    "little network": lambda machine: machine.network(59_000_000),
    "a short SSH connection": ssh("sshd: root@pts/0", 299),
    "the same without a terminal": ssh("sshd-session: ml@notty", 299),
    "one that has not logged in": ssh("sshd: [accepted]", 500),
    "one that tries to": ssh("sshd: root [net]", 500),
    "the listener": ssh("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", 5000),
    "a name like that": ssh("my sshd: ml@pts/0", 5000),
    "typed long ago": type_at("pts/3", 120),
    "a new terminal": lambda machine: machine.write("dev/pts/3", ""),
    "cloud-init has finished": lambda machine: [
        machine.write("run/cloud-init/enabled", ""),
        machine.write("run/cloud-init/result.json", "{}"),
    ],
}


@pytest.mark.parametrize("act", NO_USES.values(), ids=NO_USES.keys())
def test_what_does_not_count_as_use(machine: IdleMachine, act: Callable[[IdleMachine], object]) -> None:
    act(machine)
    last = machine.state["active"]
    if act is NO_USES["a process on a GPU that sleeps"]:
        assert "process 700" in machine.state["why"], "it has begun before"
    machine.sample()
    assert (machine.state["active"], machine.state["active"] < machine.state["at"]) == (last, True), machine.state


def test_use_that_ends_is_the_last_use(machine: IdleMachine) -> None:
    machine.smi(f"{SEVEN}97")
    machine.sample(60)
    machine.check("active", "GPU 7 at 97 %", 0)
    machine.smi(IDLE)
    machine.sample(30)
    machine.check("idle", "8 GPUs at 0 %", 1800)
    machine.check("idle", "(GPU 7 at 97 %)")


def test_gpus_that_were_never_all_there_count(machine: IdleMachine) -> None:
    machine.gpus_on_bus(9)
    machine.sample()
    machine.check("active", "nvidia-smi shows 8 of 9 GPUs")


def test_after_a_boot_it_counts_from_there(machine: IdleMachine) -> None:
    machine.sample(60)
    machine.uptime = 5
    machine.reboot("boot-2")
    machine.check("unknown", "the sampler has noted nothing since the boot")
    machine.sample()
    machine.check("active", "the machine or this sampler was started", 0)
    machine.sample(2)
    machine.check("idle", since=120)


def test_a_note_of_another_boot_counts_for_nothing(machine: IdleMachine) -> None:
    machine.sample(60)
    note = machine.state_file.read_text()
    machine.reboot("boot-2")
    machine.state_file.write_text(note)
    machine.check("unknown", "is from another boot")
    machine.sample()
    machine.check("active", "the machine or this sampler was started", 0)


def test_a_dead_sampler_is_no_idle_machine(machine: IdleMachine) -> None:
    machine.sample(60)
    machine.wait(299)
    machine.check("idle")
    machine.wait(2)
    machine.check("unknown", "the sampler has noted nothing for 5 minutes")
    machine.wait(HOUR)
    machine.sample()
    machine.check("active", "no sample for 3961 seconds", 0)


@pytest.mark.parametrize("jump", [-30 * 86400, -HOUR, HOUR, 30 * 86400])
def test_a_clock_that_is_set_changes_nothing(machine: IdleMachine, jump: float) -> None:
    machine.sample(60)
    machine.clock += jump
    machine.check("idle", since=300 + HOUR)
    machine.sample()
    machine.check("idle", since=360 + HOUR)


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"at": 1}', '{"boot": "boot-1", "at": "1", "active": 1}'])
def test_a_broken_note_counts_for_nothing(machine: IdleMachine, note: str) -> None:
    machine.state_file.write_text(note)
    machine.check("unknown", "the sampler's note")
    machine.sample()
    machine.check("active", since=0)


def test_a_hung_nvidia_smi_is_not_joined_by_others(machine: IdleMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.script, "SMI_SECONDS", 0.5)
    machine.smi_script(f"#!/bin/sh\necho started >> {machine.bin}/log\nexec sleep 600\n")
    machine.sample()
    # As if it could not be killed.
    machine.write(f"proc/{machine.state['hung']}/comm", "nvidia-smi\n")
    machine.sample(3)
    machine.check("active", "nvidia-smi still hangs", 0)
    assert (machine.bin / "log").read_text() == "started\n"
    machine.write(f"proc/{machine.state['hung']}/comm", "another\n")
    machine.smi(IDLE)
    machine.sample()
    machine.check("idle", since=60)


def test_who_has_just_come_is_seen_by_the_module_alone(machine: IdleMachine) -> None:
    machine.sample(60)
    machine.process(300, "sshd: ml@notty")
    machine.check("active", "1 other SSH connection now", 0)
    (machine.root / "proc/300/cmdline").unlink()
    machine.check("idle", since=300 + HOUR)
    machine.write("proc/loadavg", "0.60 0.02 0.03 1/2 3\n")
    machine.check("active", "load 0.60 now", 0)
    machine.write("proc/loadavg", "0.10 0.02 0.03 1/2 3\n")
    machine.check("idle", since=300 + HOUR)
    (machine.root / "proc/1/cmdline").unlink()
    machine.check("unknown", "other processes of the machine cannot be seen")


# supply-keep


@pytest.mark.parametrize(
    ("words", "seconds"), [("90m", 5400), ("6h", 6 * HOUR), ("3d", 72 * HOUR), ("30d", 720 * HOUR)]
)
def test_supply_keep_holds_for_as_long_as_it_says(machine: IdleMachine, words: str, seconds: float) -> None:
    machine.sample(60)
    machine.script.main([words])
    found = machine.activity()
    assert (found.state, found.idle_seconds, found.keep_until) == ("active", 0, machine.clock + seconds)
    assert "supply-keep until 2026-" in found.evidence
    (file,) = (machine.root / "var/lib/supply-keep").iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == (str(os.getuid()), 0o644)
    machine.uptime, machine.clock = machine.uptime + seconds + 1, machine.clock + seconds + 1
    machine.sample(2)
    machine.sample()
    found = machine.activity()
    assert (found.state, found.keep_until) == ("idle", None)


def test_supply_keep_can_be_taken_back_and_shows_itself(
    machine: IdleMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.script.main(["2h"])
    machine.script.main(["off"])
    machine.script.main(["off"])
    machine.check("idle")
    said = capsys.readouterr().out.splitlines()
    idle = "This machine has been idle since 2026-11-27 "
    assert [line.startswith(idle) for line in said] == [True, False, True, True]
    assert said[1].startswith("It is kept until 2026-11-27 ") and f"(user {os.getuid()})" in said[1]
    machine.smi(f"{SEVEN}97")
    machine.sample()
    machine.script.main([])
    machine.wait(HOUR)
    machine.script.main([])
    assert capsys.readouterr().out.splitlines() == [
        "This machine is in use: GPU 7 at 97 %.",
        "It is unknown whether this machine is in use, so it does not count as idle.",
    ]


@pytest.mark.parametrize("note", ["", "x", "[]", "{}", '{"until": "1h"}', '{"until": null}', '{"until": 1e99}'])
def test_what_another_user_has_written_there_is_said(
    machine: IdleMachine, capsys: pytest.CaptureFixture[str], note: str
) -> None:
    """Everybody may write into the folder. Who keeps the machine must not read that it failed."""
    machine.write("var/lib/supply-keep/77", note)
    machine.script.main(["2h"])
    said = capsys.readouterr().out
    assert "It is kept until 2026-11-27" in said and "The note of the user 77 is invalid, so" in said


@pytest.mark.parametrize("words", ["6", "h", "0h", "-1h", "31d", "6 h", "6h\n", "1.5h", "", "999999h", "six"])
def test_supply_keep_takes_nothing_else(machine: IdleMachine, words: str) -> None:
    with pytest.raises(SystemExit, match="how long"):
        machine.script.main([words])
    assert not list((machine.root / "var/lib/supply-keep").iterdir())


def test_supply_keep_survives_a_boot(machine: IdleMachine) -> None:
    machine.script.main(["6h"])
    machine.uptime = 5
    machine.reboot("boot-2")
    machine.sample(3)
    machine.check("active", "supply-keep until")


@pytest.mark.parametrize("jump", [-5 * HOUR, 20 * HOUR])
def test_a_clock_that_is_set_does_not_shorten_it(machine: IdleMachine, jump: float) -> None:
    machine.script.main(["6h"])
    machine.clock += jump
    machine.check("active", "supply-keep until")
    machine.sample(5 * 60)
    machine.check("active", "supply-keep until")


def test_the_longest_of_several_counts(machine: IdleMachine) -> None:
    machine.script.main(["6h"])
    note = '{{"until": {}, "boot": "boot-0", "uptime": 1}}'
    for user, seconds in (("1", 60), ("2", 9 * HOUR), ("3", -60)):
        machine.write(f"var/lib/supply-keep/{user}", note.format(machine.clock + seconds))
    assert machine.activity().keep_until == machine.clock + 9 * HOUR


@pytest.mark.parametrize(
    "note", ["", "x", "[]", '{"until": 1}', '{"until": "x", "uptime": 1}', '{"until": 1e99, "uptime": 1}']
)
def test_what_cannot_be_understood_may_be_meant_to_keep(machine: IdleMachine, note: str) -> None:
    machine.write("var/lib/supply-keep/1000", note)
    machine.check("unknown", "supply-keep")
    assert machine.activity().idle_seconds == 0


def test_nothing_in_a_folder_for_all_is_waited_for_or_followed(machine: IdleMachine) -> None:
    folder = machine.root / "var/lib/supply-keep"
    os.mkfifo(folder / "1000")
    machine.check("unknown", "for the user 1000 is invalid")
    (folder / "1000").unlink()
    (folder / "1001").symlink_to("/proc/kmsg")
    machine.check("unknown", "for the user 1001 is invalid")
    (folder / "1001").unlink()
    (folder / ".1000.new").write_text("unfinished")
    machine.check("idle")
    folder.rename(folder.with_name("elsewhere"))
    machine.check("unknown", "the folder of supply-keep cannot be read")


def test_it_runs_by_itself(machine: IdleMachine) -> None:
    machine.wait(60)
    command = [sys.executable, "-I", str(SCRIPT)]
    subprocess.run([*command, "--sample", "5"], check=True)
    assert machine.state["at"] == machine.uptime
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert said.startswith("This machine has been idle since ")
    for wrong in (["--sample", "100"], ["--sample", "-1"], ["--sample", "x"], ["6h", "7h"], ["--sample"]):
        done = subprocess.run([*command, *wrong], stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1, wrong
    (machine.root / "var/lib/supply-keep").rmdir()
    done = subprocess.run([*command, "6h"], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("supply-keep: ")) == (1, True)


def test_the_module_and_the_script_mean_the_same() -> None:
    text = SCRIPT.read_text()
    assert f'ROOT + "{activity.STATE}"' in text
    assert f'ROOT + "{activity.KEEPS}"' in text
    assert f"\nGAP = {activity.STALE_SECONDS:.0f}  " in text
    assert "{{" not in text and "{%" not in text, "it is no template"
