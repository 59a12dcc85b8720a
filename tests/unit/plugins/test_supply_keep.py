# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sampler on machines with ``provision_idle_after``, its command supply-keep, and the module activity_info."""

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
    """A machine that was booted, sampled for five minutes, and not used."""
    machine = IdleMachine(tmp_path, monkeypatch)
    machine.run_sampler(6)
    return machine


def test_unused_machine_is_idle_since_its_boot(machine: IdleMachine) -> None:
    machine.assert_activity(
        "idle", "8 GPUs at 0 %, no SSH connection, load 0.02, network 0.00 MB/s; last in use at", 300
    )
    machine.run_sampler(60)
    machine.assert_activity("idle", "(the machine or this sampler was started)", 300 + HOUR)
    assert stat.S_IMODE(machine.state_file.stat().st_mode) == 0o644
    assert [file.name for file in machine.state_file.parent.iterdir()] == ["state.json"]


def download(machine: IdleMachine) -> None:
    machine.set_received_bytes(61_000_000)


def start_cloud_init(machine: IdleMachine) -> None:
    machine.write("run/cloud-init/enabled", "")


def ssh_connection(title: str, age: float) -> Callable[[IdleMachine], None]:
    return lambda machine: machine.add_process(300, title, age=age - 60)


def type_at_terminal(name: str, seconds_ago: float = 10) -> Callable[[IdleMachine], None]:
    def prepare(machine: IdleMachine) -> None:
        # The kernel sets the time of the change, so the machine's clock is set instead.
        machine.write(f"dev/{name}", "")
        changed = os.stat(machine.root / "dev" / name).st_ctime
        machine.clock = changed + 7200
        os.utime(machine.root / "dev" / name, (changed + 7260 - seconds_ago, changed))

    return prepare


def gpu_process(used: float, age: float = 7200) -> Callable[[IdleMachine], None]:
    """A process that holds memory of a GPU. ``used``: its seconds of CPU time in the last minute."""

    def prepare(machine: IdleMachine) -> None:
        machine.add_process(700, "python3 train.py", age=age)
        machine.set_gpu_usage(IDLE, apps="700")
        if age > 60:
            machine.run_sampler()
        machine.use_cpu(700, used)

    return prepare


def gpu_usage(gpus: str) -> Callable[[IdleMachine], None]:
    return lambda machine: machine.set_gpu_usage(gpus)


def nvidia_smi_script(script: str | None) -> Callable[[IdleMachine], None]:
    return lambda machine: machine.replace_nvidia_smi(script)


def write(name: str, text: str) -> Callable[[IdleMachine], None]:
    return lambda machine: machine.write(name, text)


SEVEN = "0\n" * 7
USES = {
    "a busy GPU": (gpu_usage(f"{SEVEN}97"), "GPU 7 at 97 %"),
    "a GPU just above the limit": (gpu_usage(f"{SEVEN}6"), "GPU 7 at 6 %"),
    "N/A": (gpu_usage(f"{SEVEN}[N/A]"), "gpus unknown: nvidia-smi reports '[N/A]' for GPU 7"),
    "not supported": (gpu_usage("[Not Supported]\n" * 8), "nvidia-smi reports '[Not Supported]' for GPU 0"),
    "a unit": (gpu_usage(f"{SEVEN}0 %"), "nvidia-smi reports '0 %' for GPU 7"),
    "a negative number": (gpu_usage(f"{SEVEN}-1"), "nvidia-smi reports '-1' for GPU 7"),
    "a missing GPU": (gpu_usage(SEVEN), "nvidia-smi shows 7 of 8 GPUs"),
    "no GPUs": (gpu_usage(""), "nvidia-smi shows 0 of 8 GPUs"),
    "an error": (
        nvidia_smi_script("#!/bin/sh\nprintf '0\\n0\\n0\\n0\\n0\\n0\\n0\\n0\\n'; exit 15\n"),
        "nvidia-smi fails (15)",
    ),
    "no nvidia-smi": (
        nvidia_smi_script(None),
        "gpus unknown: nvidia-smi cannot be run (No such file or directory)",
    ),
    "nvidia-smi is not executable": (
        nvidia_smi_script("nonsense"),
        "nvidia-smi cannot be run (Exec format error)",
    ),
    "nvidia-smi hangs": (
        nvidia_smi_script("#!/bin/sh\nsleep 600\n"),
        "nvidia-smi does not answer within 0.5 seconds",
    ),
    "a child of nvidia-smi hangs": (
        nvidia_smi_script("#!/bin/sh\nsleep 5 & echo x\n"),
        "nvidia-smi reports 'x' for GPU 0",
    ),
    "noise": (nvidia_smi_script("#!/bin/sh\nprintf '\\377\\000\\n'\n"), "gpus unknown: nvidia-smi reports"),
    "unreadable processes": (lambda machine: machine.set_gpu_usage(IDLE, apps="[N/A]"), "gpus unknown: "),
    "a hidden process": (lambda machine: machine.set_gpu_usage(IDLE, apps="12345"), "gpus unknown: "),
    "a process on a GPU": (gpu_process(0.7), "process 700, which holds memory of a GPU, is at work"),
    "a new process on a GPU": (gpu_process(0, age=20), "process 700, which holds memory of a GPU, is at work"),
    "load": (write("proc/loadavg", "0.01 0.51 0.03 1/2 3\n"), "load 0.51"),
    "a load of NaN": (write("proc/loadavg", "0.01 nan 0.03 1/2 3\n"), "load nan"),
    "an unreadable load": (write("proc/loadavg", ""), "load unknown: list index out of range"),
    "a download": (download, "network 1.02 MB/s"),
    "a removed network interface": (write("proc/net/dev", "head\nhead\n"), "network "),
    "an old SSH connection": (ssh_connection("sshd: ml@pts/0", 301), "an SSH connection"),
    "an old SSH connection (OpenSSH 9.8)": (ssh_connection("sshd-session: ml@pts/0,pts/1", 301), "an SSH connection"),
    "rsync": (ssh_connection("sshd: ml@notty", 301), "an SSH connection"),
    "forwarded ports": (ssh_connection("sshd: ml", 301), "an SSH connection"),
    "forwarded ports of root": (ssh_connection("sshd: root [priv]", 301), "an SSH connection"),
    "an SSH connection that starts in the future": (ssh_connection("sshd: ml@pts/0", -100), "an SSH connection"),
    "typing at a terminal": (type_at_terminal("pts/3"), "somebody types at dev/pts/3"),
    "typing at the console": (type_at_terminal("ttyS0"), "somebody types at dev/ttyS0"),
    "typing in the future, after the clock was set back": (
        type_at_terminal("pts/3", -1000),
        "somebody types at dev/pts/3",
    ),
    "cloud-init is running": (start_cloud_init, "cloud-init has not finished"),
}


@pytest.mark.parametrize(("prepare", "evidence"), USES.values(), ids=USES.keys())
def test_use_is_recognized(
    machine: IdleMachine, prepare: Callable[[IdleMachine], None], evidence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.script, "SMI_SECONDS", 0.5)
    if prepare is USES["no nvidia-smi"][0]:
        monkeypatch.setenv("PATH", str(machine.bin))
    prepare(machine)
    machine.run_sampler()
    assert evidence in machine.state["why"]
    assert machine.state["active"] == machine.state["at"]


NOT_USES = {
    "no change": lambda machine: None,
    "a GPU at the limit": gpu_usage(f"{SEVEN}5"),
    "a sleeping process on a GPU": gpu_process(0.4),
    "load at the limit": write("proc/loadavg", "0.01 0.50 0.03 1/2 3\n"),
    "little network": lambda machine: machine.set_received_bytes(59_000_000),
    "a short SSH connection": ssh_connection("sshd: root@pts/0", 299),
    "a short SSH connection without a terminal": ssh_connection("sshd-session: ml@notty", 299),
    "an SSH connection before the login": ssh_connection("sshd: [accepted]", 500),
    "an SSH connection during the login": ssh_connection("sshd: root [net]", 500),
    "the SSH server": ssh_connection("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", 5000),
    "another program with such a title": ssh_connection("my sshd: ml@pts/0", 5000),
    "typing two minutes ago": type_at_terminal("pts/3", 120),
    "a new terminal": lambda machine: machine.write("dev/pts/3", ""),
    "cloud-init has finished": lambda machine: [
        machine.write("run/cloud-init/enabled", ""),
        machine.write("run/cloud-init/result.json", "{}"),
    ],
}


@pytest.mark.parametrize("prepare", NOT_USES.values(), ids=NOT_USES.keys())
def test_activity_below_the_limits_is_no_use(machine: IdleMachine, prepare: Callable[[IdleMachine], object]) -> None:
    prepare(machine)
    last = machine.state["active"]
    if prepare is NOT_USES["a sleeping process on a GPU"]:
        assert "process 700" in machine.state["why"], "its start counts as use"
    machine.run_sampler()
    assert (machine.state["active"], machine.state["active"] < machine.state["at"]) == (last, True), machine.state


def test_machine_is_idle_since_its_last_use(machine: IdleMachine) -> None:
    machine.set_gpu_usage(f"{SEVEN}97")
    machine.run_sampler(60)
    machine.assert_activity("active", "GPU 7 at 97 %", 0)
    machine.set_gpu_usage(IDLE)
    machine.run_sampler(30)
    machine.assert_activity("idle", "8 GPUs at 0 %", 1800)
    machine.assert_activity("idle", "(GPU 7 at 97 %)")


def test_gpu_that_nvidia_smi_does_not_list_counts_as_use(machine: IdleMachine) -> None:
    machine.gpus_on_bus(9)
    machine.run_sampler()
    machine.assert_activity("active", "nvidia-smi shows 8 of 9 GPUs")


def test_idle_time_starts_anew_after_a_boot(machine: IdleMachine) -> None:
    machine.run_sampler(60)
    machine.uptime = 5
    machine.reboot("boot-2")
    machine.assert_activity("unknown", "the sampler has noted nothing since the boot")
    machine.run_sampler()
    machine.assert_activity("active", "the machine or this sampler was started", 0)
    machine.run_sampler(2)
    machine.assert_activity("idle", since=120)


def test_note_of_another_boot_is_ignored(machine: IdleMachine) -> None:
    machine.run_sampler(60)
    note = machine.state_file.read_text()
    machine.reboot("boot-2")
    machine.state_file.write_text(note)
    machine.assert_activity("unknown", "is from another boot")
    machine.run_sampler()
    machine.assert_activity("active", "the machine or this sampler was started", 0)


def test_machine_with_a_dead_sampler_is_never_idle(machine: IdleMachine) -> None:
    machine.run_sampler(60)
    machine.advance(299)
    machine.assert_activity("idle")
    machine.advance(2)
    machine.assert_activity("unknown", "the sampler has noted nothing for 5 minutes")
    machine.advance(HOUR)
    machine.run_sampler()
    machine.assert_activity("active", "no sample for 3961 seconds", 0)


@pytest.mark.parametrize("jump", [-30 * 86400, -HOUR, HOUR, 30 * 86400])
def test_setting_the_clock_does_not_change_the_idle_time(machine: IdleMachine, jump: float) -> None:
    machine.run_sampler(60)
    machine.clock += jump
    machine.assert_activity("idle", since=300 + HOUR)
    machine.run_sampler()
    machine.assert_activity("idle", since=360 + HOUR)


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"at": 1}', '{"boot": "boot-1", "at": "1", "active": 1}'])
def test_broken_note_is_ignored(machine: IdleMachine, note: str) -> None:
    machine.state_file.write_text(note)
    machine.assert_activity("unknown", "the sampler's note")
    machine.run_sampler()
    machine.assert_activity("active", since=0)


def test_no_second_nvidia_smi_starts_while_one_hangs(machine: IdleMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.script, "SMI_SECONDS", 0.5)
    machine.replace_nvidia_smi(f"#!/bin/sh\necho started >> {machine.bin}/log\nexec sleep 600\n")
    machine.run_sampler()
    # Simulates that it could not be killed.
    machine.write(f"proc/{machine.state['hung']}/comm", "nvidia-smi\n")
    machine.run_sampler(3)
    machine.assert_activity("active", "nvidia-smi still hangs", 0)
    assert (machine.bin / "log").read_text() == "started\n"
    machine.write(f"proc/{machine.state['hung']}/comm", "another\n")
    machine.set_gpu_usage(IDLE)
    machine.run_sampler()
    machine.assert_activity("idle", since=60)


def test_module_sees_use_since_the_last_sample(machine: IdleMachine) -> None:
    machine.run_sampler(60)
    machine.add_process(300, "sshd: ml@notty")
    machine.assert_activity("active", "1 other SSH connection now", 0)
    (machine.root / "proc/300/cmdline").unlink()
    machine.assert_activity("idle", since=300 + HOUR)
    machine.write("proc/loadavg", "0.60 0.02 0.03 1/2 3\n")
    machine.assert_activity("active", "load 0.60 now", 0)
    machine.write("proc/loadavg", "0.10 0.02 0.03 1/2 3\n")
    machine.assert_activity("idle", since=300 + HOUR)
    (machine.root / "proc/1/cmdline").unlink()
    machine.assert_activity("unknown", "other processes of the machine cannot be seen")


@pytest.mark.parametrize(
    ("title", "state"),
    [
        ("sshd: ml@notty", "active"),
        ("sshd: ml@pts/3", "active"),
        ("sshd-session: ml@pts/3,pts/4", "active"),
        ("sshd: ml [priv]", "idle"),
        ("sshd-session: ml [priv]", "idle"),
        ("sshd: [accepted]", "idle"),
        ("sshd-session: [net]", "idle"),
        ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", "idle"),
        ("python3 sshd: ml@pts/3", "idle"),
    ],
)
def test_module_counts_each_logged_in_connection(machine: IdleMachine, title: str, state: str) -> None:
    machine.run_sampler(60)
    machine.add_process(300, title)
    machine.assert_activity(state, "1 other SSH connection now" if state == "active" else "")


@pytest.mark.parametrize("name", ["proc/uptime", "proc/sys/kernel/random/boot_id"])
def test_module_refuses_computer_without_uptime_or_boot_id(machine: IdleMachine, name: str) -> None:
    for text in ("", "x" if name == "proc/uptime" else " \n"):
        machine.write(name, text)
        with pytest.raises(ValueError, match="uptime or boot id cannot be read"):
            machine.activity()


# supply-keep


@pytest.mark.parametrize(
    ("words", "seconds"), [("90m", 5400), ("6h", 6 * HOUR), ("3d", 72 * HOUR), ("30d", 720 * HOUR)]
)
def test_supply_keep_holds_for_the_given_duration(machine: IdleMachine, words: str, seconds: float) -> None:
    machine.run_sampler(60)
    machine.script.main([words])
    found = machine.activity()
    assert (found.state, found.idle_seconds, found.keep_until) == ("active", 0, machine.clock + seconds)
    assert "supply-keep until 2026-" in found.evidence
    (file,) = (machine.root / "var/lib/supply-keep").iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == (str(os.getuid()), 0o644)
    machine.uptime, machine.clock = machine.uptime + seconds + 1, machine.clock + seconds + 1
    machine.run_sampler(2)
    machine.run_sampler()
    found = machine.activity()
    assert (found.state, found.keep_until) == ("idle", None)


def test_supply_keep_off_and_its_output(machine: IdleMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.script.main(["2h"])
    machine.script.main(["off"])
    machine.script.main(["off"])
    machine.assert_activity("idle")
    lines = capsys.readouterr().out.splitlines()
    idle = "This machine has been idle since 2026-11-27 "
    assert [line.startswith(idle) for line in lines] == [True, False, True, True]
    assert lines[1].startswith("It is kept until 2026-11-27 ") and f"(user {os.getuid()})" in lines[1]
    machine.set_gpu_usage(f"{SEVEN}97")
    machine.run_sampler()
    machine.script.main([])
    machine.advance(HOUR)
    machine.script.main([])
    assert capsys.readouterr().out.splitlines() == [
        "This machine is in use: GPU 7 at 97 %.",
        "It is unknown whether this machine is in use, so it does not count as idle.",
    ]


@pytest.mark.parametrize("note", ["", "x", "[]", "{}", '{"until": "1h"}', '{"until": null}', '{"until": 1e99}'])
def test_supply_keep_reports_invalid_notes_of_other_users(
    machine: IdleMachine, capsys: pytest.CaptureFixture[str], note: str
) -> None:
    """All users may write to the folder. Their invalid notes must not look like a failure of this command."""
    machine.write("var/lib/supply-keep/77", note)
    machine.script.main(["2h"])
    output = capsys.readouterr().out
    assert "It is kept until 2026-11-27" in output and "The note of the user 77 is invalid, so" in output


@pytest.mark.parametrize("words", ["6", "h", "0h", "-1h", "31d", "6 h", "6h\n", "1.5h", "", "999999h", "six"])
def test_supply_keep_refuses_other_durations(machine: IdleMachine, words: str) -> None:
    with pytest.raises(SystemExit, match="how long"):
        machine.script.main([words])
    assert not list((machine.root / "var/lib/supply-keep").iterdir())


def test_supply_keep_survives_a_boot(machine: IdleMachine) -> None:
    machine.script.main(["6h"])
    machine.uptime = 5
    machine.reboot("boot-2")
    machine.run_sampler(3)
    machine.assert_activity("active", "supply-keep until")


@pytest.mark.parametrize("jump", [-5 * HOUR, 20 * HOUR])
def test_setting_the_clock_does_not_shorten_supply_keep(machine: IdleMachine, jump: float) -> None:
    machine.script.main(["6h"])
    machine.clock += jump
    machine.assert_activity("active", "supply-keep until")
    machine.run_sampler(5 * 60)
    machine.assert_activity("active", "supply-keep until")


def test_longest_supply_keep_counts(machine: IdleMachine) -> None:
    machine.script.main(["6h"])
    note = '{{"until": {}, "boot": "boot-0", "uptime": 1}}'
    for user, seconds in (("1", 60), ("2", 9 * HOUR), ("3", -60)):
        machine.write(f"var/lib/supply-keep/{user}", note.format(machine.clock + seconds))
    assert machine.activity().keep_until == machine.clock + 9 * HOUR


@pytest.mark.parametrize(
    "note", ["", "x", "[]", '{"until": 1}', '{"until": "x", "uptime": 1}', '{"until": 1e99, "uptime": 1}']
)
def test_invalid_supply_keep_note_makes_the_state_unknown(machine: IdleMachine, note: str) -> None:
    machine.write("var/lib/supply-keep/1000", note)
    machine.assert_activity("unknown", "supply-keep")
    assert machine.activity().idle_seconds == 0


def test_pipes_and_links_in_the_supply_keep_folder_are_not_read(machine: IdleMachine) -> None:
    folder = machine.root / "var/lib/supply-keep"
    os.mkfifo(folder / "1000")
    machine.assert_activity("unknown", "for the user 1000 is invalid")
    (folder / "1000").unlink()
    (folder / "1001").symlink_to("/proc/kmsg")
    machine.assert_activity("unknown", "for the user 1001 is invalid")
    (folder / "1001").unlink()
    (folder / ".1000.new").write_text("unfinished")
    machine.assert_activity("idle")
    folder.rename(folder.with_name("elsewhere"))
    machine.assert_activity("unknown", "the folder of supply-keep cannot be read")


def test_script_runs_as_a_command(machine: IdleMachine) -> None:
    machine.advance(60)
    command = [sys.executable, "-I", str(SCRIPT)]
    subprocess.run([*command, "--sample", "5"], check=True)
    assert machine.state["at"] == machine.uptime
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert output.startswith("This machine has been idle since ")
    for arguments in (["--sample", "100"], ["--sample", "-1"], ["--sample", "x"], ["6h", "7h"], ["--sample"]):
        done = subprocess.run([*command, *arguments], stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1, arguments
    (machine.root / "var/lib/supply-keep").rmdir()
    done = subprocess.run([*command, "6h"], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("supply-keep: ")) == (1, True)


def test_module_and_script_have_the_same_paths_and_limit() -> None:
    text = SCRIPT.read_text()
    assert f'ROOT + "{activity.STATE}"' in text
    assert f'ROOT + "{activity.KEEPS}"' in text
    assert f"\nGAP = {activity.STALE_SECONDS:.0f}  " in text
    assert "{{" not in text and "{%" not in text, "the role copies it without templating"
