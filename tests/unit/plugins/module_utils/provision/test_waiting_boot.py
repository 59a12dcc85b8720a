# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait for a machine that boots: SSH errors, answers of cloud-init, time limits, and how the wait ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import sending, waiting
from ansible_collections.compute_index.supply.plugins.module_utils._provision.waiting import (
    BootStep,
    BootTimeouts,
    CloudInitStatus,
    Wait,
)

ROOT = Path(__file__).parents[5]
TIMEOUTS = BootTimeouts(connect=600, boot=1800)
REFUSED = "Failed to connect to the host via ssh: ssh: connect to host 203.0.113.7 port 22: Connection refused"
NO_ADDRESS = "Failed to connect to the host via ssh: ssh: Could not resolve hostname gpu-1: Name or service not known"
DENIED = (
    "Failed to connect to the host via ssh: Warning: Permanently added '203.0.113.7' (ED25519) to the list of known"
    " hosts.\r\nroot@203.0.113.7: Permission denied (publickey)."
)
OTHER_KEY = """Failed to connect to the host via ssh: @@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Host key for 203.0.113.7 has changed and you have requested strict checking.
Host key verification failed."""
NO_KEY = """Failed to connect to the host via ssh: No ED25519 host key is known for 203.0.113.7 and so on.
Host key verification failed."""
DEBUG = "Failed to connect to the host via ssh: OpenSSH_10.0\r\ndebug1: a\r\nmux_client_b: c\r\nHost is down\r\n"

UNREACHABLE = Wait(TIMEOUTS)
REACHABLE = waiting.connected(UNREACHABLE, 20)


# The output of `cloud-init status --long`, by version
LONG_20 = """status: {}
time: Thu, 01 Jan 1970 00:00:20 +0000
detail:
{}
"""
LONG_25 = """status: {}
extended_status: {}
boot_status_code: enabled-by-generator
last_update: Thu, 01 Jan 1970 00:00:20 +0000
detail: {}
errors:{}
recoverable_errors:{}
"""
SOURCE = "DataSourceNoCloud [seed=/dev/sr0]"


def cloud_init_output(
    status: str = "done", extended: str = "", detail: str = SOURCE, errors: str = " []", others: str = " {}"
) -> str:
    return LONG_25.format(status, extended or status, detail, errors, others)


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "report"),
    [
        pytest.param(0, cloud_init_output(), "", CloudInitStatus("done"), id="done"),
        pytest.param(0, "Welcome!\nstatus: x\n" + cloud_init_output(), "", CloudInitStatus("done"), id="greeting"),
        pytest.param(
            2,
            cloud_init_output(extended="degraded done", others="\nWARNING:\n\t- a b\n\t- a b\nERROR:\n\t- c"),
            "",
            CloudInitStatus("done", ("a b", "c"), degraded=True),
            id="degraded",
        ),
        pytest.param(
            0,
            cloud_init_output(extended="degraded done", others="\nWARNING:\n\t- a"),
            "",
            CloudInitStatus("done", ("a",), degraded=True),
            id="degraded-of-older-versions",
        ),
        pytest.param(
            1,
            cloud_init_output("error", "error - done", errors="\n\t- " + "x" * 500),
            "",
            CloudInitStatus("error", ("x" * 400 + "...",)),
            id="error",
        ),
        pytest.param(
            1,
            cloud_init_output("error", "error - running", "Running in stage: modules-final", "\n\t- e"),
            "",
            CloudInitStatus("running", ("e",), "Running in stage: modules-final"),
            id="error-but-running",
        ),
        pytest.param(0, cloud_init_output("not started"), "", CloudInitStatus("not started"), id="not-started"),
        pytest.param(0, LONG_20.format("done", "DataSourceEc2"), "", CloudInitStatus("done"), id="20"),
        pytest.param(1, LONG_20.format("error", "('a',)"), "", CloudInitStatus("error", (), "('a',)"), id="20-error"),
        pytest.param(0, "status: absent\n", "", CloudInitStatus("absent"), id="absent"),
        pytest.param(124, "", "", CloudInitStatus("running", detail="it did not answer within 20 seconds"), id="hangs"),
        pytest.param(
            1,
            "",
            "Traceback:\n  x\nImportError: yaml\n",
            CloudInitStatus("unclear", detail="ImportError: yaml"),
            id="trace",
        ),
        pytest.param(
            1,
            "marked: yes\nmarked: yes\n",
            "ImportError: yaml\n",
            CloudInitStatus("unclear", detail="ImportError: yaml"),
            id="trace-and-mark",
        ),
        pytest.param(1, "", "", CloudInitStatus("unclear", detail="exit code 1"), id="silent"),
        pytest.param(
            142,
            'Please login as the user "ubuntu" rather than the user "root".\n\n',
            "",
            CloudInitStatus("unclear", detail='Please login as the user "ubuntu" rather than the user "root".'),
            id="other-user",
        ),
    ],
)
def test_cloud_init_status_reads_output_of_each_version(
    code: int, stdout: str, stderr: str, report: CloudInitStatus
) -> None:
    assert waiting.cloud_init_status(code, stdout, stderr) == report


@pytest.mark.parametrize(
    ("program", "report"),
    [
        pytest.param(None, CloudInitStatus("absent"), id="absent"),
        pytest.param("[ $2 = --long ] && echo status: done", CloudInitStatus("done"), id="long"),
        pytest.param("echo status: done; exit 2", CloudInitStatus("done", degraded=True), id="exit-code"),
        pytest.param("exit 127", CloudInitStatus("unclear", detail="exit code 127"), id="broken"),
    ],
)
def test_ask_is_valid_shell_command(tmp_path: Path, program: str | None, report: CloudInitStatus) -> None:
    if program is not None:
        (tmp_path / "cloud-init").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "cloud-init").chmod(0o755)
    # In the form of ansible-core before 2.17, on a machine without the program `timeout`
    answer = subprocess.run(
        ["/bin/sh", "-c", f"{waiting.ASK} && /bin/sleep 0"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert waiting.cloud_init_status(answer.returncode, answer.stdout, answer.stderr) == report


def test_hanging_cloud_init_is_queried_once_with_timeout(tmp_path: Path) -> None:
    for name, program in (("cloud-init", "exit 1"), ("timeout", 'echo "$@" >> "$0.log"; exit 124')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / name).chmod(0o755)
    answer = subprocess.run(["/bin/sh", "-c", waiting.ASK], env={"PATH": str(tmp_path)}, check=False)
    assert waiting.cloud_init_status(answer.returncode, "", "").detail == "it did not answer within 20 seconds"
    assert (tmp_path / "timeout.log").read_text() == "20 cloud-init status --long\n"


UNRESOLVED = (
    "This computer finds no address of the machine: Could not resolve hostname gpu-1: Name or service not known."
    " Check ansible_host, and DNS."
)
KEY_ADVICE = (
    " Set ansible_ssh_private_key_file to the private half of the key given at the purchase; if it has a passphrase,"
    " ssh-add it."
)
KEY_REFUSED = "SSH refuses the user's key: root@203.0.113.7: Permission denied (publickey)." + KEY_ADVICE
HOST_KEY_CHANGED = (
    "SSH refuses the machine's host key: Host key for 203.0.113.7 has changed and you have"
    " requested strict checking. Host key verification failed."
)
SEEDED = BootTimeouts(600, 1800, seeded=True)


@pytest.mark.parametrize(
    ("wait", "error", "now", "step"),
    [
        pytest.param(UNREACHABLE, REFUSED, 5, BootStep("SSH does not answer: Connection refused.", 1.0), id="refused"),
        pytest.param(UNREACHABLE, DEBUG, 5, BootStep("SSH does not answer: Host is down.", 1.0), id="debug"),
        pytest.param(UNREACHABLE, "", 5, BootStep("SSH does not answer: the connection was closed.", 1.0), id="silent"),
        pytest.param(
            UNREACHABLE,
            REFUSED,
            600,
            BootStep("SSH does not answer: Connection refused. The limit was 10 minutes.", failed=True),
            id="late",
        ),
        pytest.param(
            UNREACHABLE,
            "ControlPath too long ('/a/b' >= 108 bytes)",
            0,
            BootStep("SSH cannot work on this computer: ControlPath too long ('/a/b' >= 108 bytes).", failed=True),
            id="control-path",
        ),
        pytest.param(
            UNREACHABLE,
            "Failed to connect to the host via ssh: Bad owner or permissions on /home/me/.ssh/config",
            0,
            BootStep(
                "SSH cannot work on this computer: Bad owner or permissions on /home/me/.ssh/config.", failed=True
            ),
            id="own-settings",
        ),
        pytest.param(
            UNREACHABLE,
            "@@@@\n@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\n@@@@\nPermissions 0644 for '/k' are too open.\n"
            'Load key "/k": bad permissions\nroot@203.0.113.7: Permission denied (publickey).',
            0,
            BootStep(
                "SSH cannot work on this computer: Permissions 0644 for '/k' are too open. Load key \"/k\": bad"
                " permissions root@203.0.113.7: Permission denied (publickey).",
                failed=True,
            ),
            id="open-key",
        ),
        pytest.param(
            UNREACHABLE,
            OTHER_KEY,
            0,
            BootStep(HOST_KEY_CHANGED, failed=True, host_key_refused=True),
            id="other-host-key",
        ),
        pytest.param(Wait(SEEDED), OTHER_KEY, 599, BootStep(HOST_KEY_CHANGED, 1.0, host_key_refused=True), id="seeded"),
        pytest.param(
            Wait(SEEDED),
            OTHER_KEY,
            600,
            BootStep(f"{HOST_KEY_CHANGED} The limit was 10 minutes.", failed=True, host_key_refused=True),
            id="seeded-late",
        ),
        pytest.param(UNREACHABLE, DENIED, 300, BootStep(KEY_REFUSED, 5.0, urgent=True), id="denied-first"),
        pytest.param(
            Wait(TIMEOUTS, doubtful=300),
            DENIED,
            540,
            BootStep(f"{KEY_REFUSED} The limit was 4 minutes.", failed=True, urgent=True),
            id="denied-for-four-minutes",
        ),
        pytest.param(
            Wait(TIMEOUTS, doubtful=500),
            DENIED,
            600,
            BootStep(f"{KEY_REFUSED} The limit was 10 minutes.", failed=True, urgent=True),
            id="denied-and-late",
        ),
        pytest.param(UNREACHABLE, NO_ADDRESS, 5, BootStep(UNRESOLVED, 1.0, urgent=True), id="no-address"),
        pytest.param(
            Wait(TIMEOUTS, unresolved=5),
            NO_ADDRESS,
            64,
            BootStep(UNRESOLVED, 1.0, urgent=True),
            id="no-address-for-59-seconds",
        ),
        pytest.param(
            Wait(TIMEOUTS, unresolved=5),
            NO_ADDRESS,
            65,
            BootStep(f"{UNRESOLVED} The limit was 1 minute.", failed=True, urgent=True),
            id="no-address-for-a-minute",
        ),
        pytest.param(REACHABLE, REFUSED, 700, BootStep("SSH does not answer: Connection refused.", 1.0), id="lost"),
    ],
)
def test_after_failure_waits_or_fails_by_error_and_time(wait: Wait, error: str, now: float, step: BootStep) -> None:
    assert waiting.after_failure(wait, error, now)[1] == step


@pytest.mark.parametrize(
    ("error", "denied", "other_key"),
    [
        (DENIED, True, False),
        ("Received disconnect from 203.0.113.7: 2: Too many authentication failures", True, False),
        ("Invalid/incorrect password: Permission denied, please try again.", True, False),
        ("Invalid/incorrect username/password. Skipping remaining 0 retries to prevent account lockout:", True, False),
        (
            'Load key "/etc/ssh/id": Permission denied\r\nssh: connect to host a port 22: Connection refused',
            False,
            False,
        ),
        (OTHER_KEY, False, True),
        (NO_KEY, False, True),
        ("Using a SSH password instead of a key is not possible because Host Key checking is enabled", False, True),
        ("Unable to execute ssh command line on a controller due to: no such file", False, False),
    ],
)
def test_refused_key_and_host_key_are_recognised(error: str, denied: bool, other_key: bool) -> None:
    _wait, step = waiting.after_failure(UNREACHABLE, error, 0)
    assert (step.urgent, step.host_key_refused) == (denied, other_key)


@pytest.mark.parametrize(
    "error",
    [
        NO_ADDRESS,
        "ssh: Could not resolve hostname gpu-1: Temporary failure in name resolution",
        "ssh: Could not resolve hostname gpu-1: nodename nor servname provided, or not known",
        "[Errno -5] No address associated with hostname",  # Python's own error, with paramiko
        "[Errno -2] Name or service not known",
    ],
)
def test_wait_for_address_of_name_is_limited_to_a_minute(error: str) -> None:
    wait, step = waiting.after_failure(UNREACHABLE, error, 10)
    assert (wait.unresolved, step.failed) == (10, False)
    for resolved in (waiting.after_failure(wait, REFUSED, 30)[0], waiting.connected(wait, 30)):
        wait, step = waiting.after_failure(resolved, error, 75)
        assert (resolved.unresolved, wait.unresolved, step.failed) == (None, 75, False)
    assert waiting.after_failure(wait, error, 135)[1].failed


def test_machine_that_does_not_answer_has_no_time_limit_of_refused_key() -> None:
    wait, _step = waiting.after_failure(UNREACHABLE, REFUSED, 0)
    assert (wait.doubtful, waiting.after_failure(wait, REFUSED, 599)[1].failed) == (None, False)


def test_time_limit_of_refused_key_restarts_after_connection() -> None:
    wait, _step = waiting.after_failure(UNREACHABLE, DENIED, 0)
    wait, _step = waiting.after_failure(waiting.connected(wait, 100), DENIED, 300)
    assert wait.doubtful == 300


RUNNING = CloudInitStatus("running", detail="Running in stage: modules-final")
STILL_RUNNING = "The state of cloud-init is 'running' (Running in stage: modules-final)."


@pytest.mark.parametrize(
    ("report", "now", "step"),
    [
        pytest.param(CloudInitStatus("done"), 21, BootStep("cloud-init has finished."), id="done"),
        pytest.param(CloudInitStatus("done"), 9999, BootStep("cloud-init has finished."), id="done-late"),
        pytest.param(CloudInitStatus("disabled"), 21, BootStep("cloud-init is disabled."), id="disabled"),
        pytest.param(CloudInitStatus("absent"), 21, BootStep("There is no cloud-init on the machine."), id="absent"),
        pytest.param(
            CloudInitStatus("done", ("a", "b"), degraded=True),
            21,
            BootStep(
                "cloud-init has finished with errors: a; b.", warning="cloud-init has finished with errors: a; b."
            ),
            id="degraded",
        ),
        pytest.param(
            CloudInitStatus("error", ("a",), "d"), 21, BootStep("cloud-init has failed: a.", failed=True), id="error"
        ),
        pytest.param(
            CloudInitStatus("error", (), "d"),
            21,
            BootStep("cloud-init has failed: d.", failed=True),
            id="error-in-detail",
        ),
        pytest.param(
            CloudInitStatus("error"), 21, BootStep("cloud-init has failed: it names no error.", failed=True), id="mute"
        ),
        pytest.param(
            CloudInitStatus("error", ("x" * 400,) * 20),
            21,
            BootStep(f"cloud-init has failed: {'x' * 400}.", failed=True),
            id="long-error",
        ),
        pytest.param(RUNNING, 21, BootStep(STILL_RUNNING, 2.0), id="running"),
        pytest.param(RUNNING, 79, BootStep(STILL_RUNNING, 2.0), id="still-soon"),
        pytest.param(RUNNING, 80, BootStep(STILL_RUNNING, 10.0), id="slowly"),
        pytest.param(RUNNING, 1820, BootStep(f"{STILL_RUNNING} The limit was 30 minutes.", failed=True), id="too-long"),
        pytest.param(
            CloudInitStatus("running", ("a",), degraded=True),
            21,
            BootStep("The state of cloud-init is 'running' (a).", 2.0),
            id="running-degraded",
        ),
        pytest.param(
            CloudInitStatus("running", ("a", "b")),
            21,
            BootStep("The state of cloud-init is 'running' (a; b).", 2.0),
            id="running-with-errors",
        ),
        pytest.param(
            CloudInitStatus("not run"), 21, BootStep("The state of cloud-init is 'not run'.", 2.0), id="not-run"
        ),
        pytest.param(
            CloudInitStatus("unclear", detail="What"),
            21,
            BootStep("The state of cloud-init is 'unclear' (What).", 2.0),
            id="unclear",
        ),
    ],
)
def test_after_report_waits_or_ends_by_status(report: CloudInitStatus, now: float, step: BootStep) -> None:
    assert waiting.after_report(REACHABLE, report, now)[1] == step


NO_MARK = (
    " The machine has not run its user data: the last step creates the file /var/lib/supply-booted (or"
    " ~/.supply-booted), which is missing. If your template does not create it, add the comment: supply-booted: none."
)
ABSENT = f"There is no cloud-init on the machine.{NO_MARK}"
DISABLED = f"cloud-init is disabled.{NO_MARK}"
MARKED = waiting.connected(Wait(BootTimeouts(connect=600, boot=1800, marked=True)), 20)


@pytest.mark.parametrize(
    ("report", "now", "step"),
    [
        (CloudInitStatus("absent"), 21, BootStep(ABSENT, 2.0)),
        (CloudInitStatus("absent"), 100, BootStep(ABSENT, 10.0)),
        (CloudInitStatus("absent"), 1820, BootStep(f"{ABSENT} The limit was 30 minutes.", failed=True)),
        (CloudInitStatus("absent", marked=True), 21, BootStep("There is no cloud-init on the machine.")),
        (CloudInitStatus("absent", marked=True), 9999, BootStep("There is no cloud-init on the machine.")),
        (CloudInitStatus("disabled"), 21, BootStep(DISABLED, 2.0)),
        (CloudInitStatus("disabled"), 1820, BootStep(f"{DISABLED} The limit was 30 minutes.", failed=True)),
        (CloudInitStatus("disabled", marked=True), 21, BootStep("cloud-init is disabled.")),
        # cloud-init itself reports success, so the mark is not needed.
        (CloudInitStatus("done"), 21, BootStep("cloud-init has finished.")),
    ],
)
def test_absent_or_disabled_cloud_init_needs_mark_of_user_data(
    report: CloudInitStatus, now: float, step: BootStep
) -> None:
    assert waiting.after_report(MARKED, report, now)[1] == step


@pytest.mark.parametrize("program", [False, True])
@pytest.mark.parametrize("place", ["var", "home", "both", ""])
def test_ask_finds_mark_in_var_and_home(tmp_path: Path, place: str, program: bool) -> None:
    var = tmp_path / "var"
    for folder, name in ((var, waiting.MARK), (tmp_path, f".{waiting.MARK}")):
        folder.mkdir(exist_ok=True)
        if place in ("both", "var" if folder == var else "home"):
            (folder / name).touch()
    if program:
        cloud_init = tmp_path / "cloud-init"
        cloud_init.write_text("#!/bin/sh\necho 'status: disabled'\n")
        cloud_init.chmod(0o755)
    command = waiting.ASK.replace("/var/lib", str(var))
    answer = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = CloudInitStatus("disabled" if program else "absent", marked=bool(place))
    assert waiting.cloud_init_status(answer.returncode, answer.stdout, answer.stderr) == expected


@pytest.mark.parametrize("template", ["cloud-config.yaml.j2", "startup.sh.j2"])
def test_shipped_templates_leave_mark(template: str) -> None:
    text = (ROOT / "roles" / "provision" / "templates" / template).read_text()
    assert text.count(f"touch /var/lib/{waiting.MARK} || touch ~/.{waiting.MARK}") == 1
    assert sending.boot_mark(text)


def test_unclear_status_fails_after_four_minutes() -> None:
    wait, step = waiting.after_report(REACHABLE, CloudInitStatus("unclear", detail="What"), 100)
    assert not waiting.after_report(wait, CloudInitStatus("unclear", detail="What"), 339)[1].failed
    assert waiting.after_report(wait, CloudInitStatus("unclear", detail="What"), 340)[1].failed
    wait, step = waiting.after_report(wait, RUNNING, 200)
    assert (wait.doubtful, step.failed) == (None, False)


def test_connection_may_be_lost_three_times() -> None:
    wait, now = waiting.connected(Wait(BootTimeouts(connect=100, boot=1800)), 10), 10.0
    for lost in (1, 2, 3):
        wait, step = waiting.after_failure(wait, REFUSED, now + 10)
        assert (step.failed, wait.lost, step.msg) == (False, lost, "SSH does not answer: Connection refused.")
        wait, step = waiting.after_failure(wait, REFUSED, now + 109)
        assert not step.failed, "each wait has the whole time limit"
        now += 109
        wait = waiting.connected(wait, now)
    wait, step = waiting.after_failure(wait, REFUSED, now)
    assert step.failed and "does not stay reachable while cloud-init runs: 4 connections were lost. " in step.msg
