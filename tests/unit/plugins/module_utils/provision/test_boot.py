# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a machine that boots is waited for, and how that ends."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import boot, sending
from ansible_collections.compute_index.supply.plugins.module_utils._provision.boot import (
    BootStep,
    BootTimeouts,
    CloudInitStatus,
    Wait,
)

ROOT = Path(__file__).parents[5]
LIMITS = BootTimeouts(connect=600, boot=1800)
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

UP = boot.connected(Wait(LIMITS), 20)


# What cloud-init says, by version.
JSON_25 = {
    "boot_status_code": "enabled-by-generator",
    "datasource": "nocloud",
    "detail": "DataSourceNoCloud [seed=/dev/sr0]",
    "errors": [],
    "extended_status": "done",
    "init": {"errors": [], "finished": 20.1, "recoverable_errors": {}, "start": 19.2},
    "last_update": "Thu, 01 Jan 1970 00:00:20 +0000",
    "recoverable_errors": {},
    "stage": None,
    "status": "done",
}
JSON_22 = {"datasource": "ec2", "detail": "DataSourceEc2", "errors": [], "last_update": "", "status": "done"}
LONG_20 = """status: {}
time: Thu, 01 Jan 1970 00:00:20 +0000
detail:
{}
"""
LONG_25 = """status: error
extended_status: error - done
boot_status_code: enabled-by-generator
last_update: Thu, 01 Jan 1970 00:00:20 +0000
detail: DataSourceNoCloud [seed=/dev/sr0]
errors:
\t- it broke
\t- and that, too
recoverable_errors:
WARNING:
\t- a warning
"""


def said(**fields: Any) -> str:
    return json.dumps({**JSON_25, **fields}, indent=2)


SOURCE = "DataSourceNoCloud [seed=/dev/sr0]"


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "report"),
    [
        pytest.param(0, said(), "", CloudInitStatus("done", detail=SOURCE), id="done"),
        pytest.param(0, json.dumps(JSON_22), "", CloudInitStatus("done", detail="DataSourceEc2"), id="22"),
        pytest.param(0, "Welcome!\n" + said(), "", CloudInitStatus("done", detail=SOURCE), id="greeting"),
        pytest.param(0, "{ours} {0} " + said(), "", CloudInitStatus("done", detail=SOURCE), id="greeting-with-braces"),
        pytest.param(
            2,
            said(extended_status="degraded done", recoverable_errors={"WARNING": ["a\nb", "a b"], "ERROR": ["c"]})
            + "status: done",
            "",
            CloudInitStatus("done", ("WARNING: a b", "ERROR: c"), SOURCE, degraded=True),
            id="degraded",
        ),
        pytest.param(
            1,
            said(
                status="error",
                extended_status="error - done",
                errors=["x" * 500],
                recoverable_errors={"WARNING": ["w"]},
            ),
            "",
            CloudInitStatus("error", ("x" * 400 + "...",), SOURCE),
            id="error",
        ),
        pytest.param(
            1,
            said(status="error", extended_status="error - running", errors=["e"], stage="modules-final"),
            "",
            CloudInitStatus("running", ("e",), SOURCE, "modules-final"),
            id="error-and-goes-on",
        ),
        pytest.param(
            0,
            said(status="running", extended_status="running", stage="modules-config"),
            "",
            CloudInitStatus("running", (), SOURCE, "modules-config"),
            id="running",
        ),
        pytest.param(
            0, said(status="not started"), "", CloudInitStatus("not started", detail=SOURCE), id="not-started"
        ),
        pytest.param(
            0,
            LONG_20.format("done", "DataSourceEc2"),
            "usage",
            CloudInitStatus("done", detail="DataSourceEc2"),
            id="20",
        ),
        pytest.param(
            0,
            LONG_20.format("running", "Running in stage: init-local"),
            "",
            CloudInitStatus("running", (), "Running in stage: init-local", "init-local"),
            id="20-running",
        ),
        pytest.param(
            1, LONG_20.format("error", "('a',\n 'b')"), "", CloudInitStatus("error", (), "('a', 'b')"), id="20-error"
        ),
        pytest.param(1, LONG_25, "", CloudInitStatus("error", ("it broke", "and that, too"), SOURCE), id="long"),
        pytest.param(0, "status: absent\n", "", CloudInitStatus("absent"), id="absent"),
        pytest.param(124, "", "", CloudInitStatus("running", detail="it did not answer within 20 seconds"), id="hangs"),
        pytest.param(
            1,
            "",
            "Traceback:\n  x\nImportError: yaml\n",
            CloudInitStatus("unclear", detail="ImportError: yaml"),
            id="trace",
        ),
        pytest.param(1, "", "", CloudInitStatus("unclear", detail="exit code 1"), id="silent"),
        pytest.param(
            142,
            'Please login as the user "ubuntu" rather than the user "root".\n\n',
            "",
            CloudInitStatus("unclear", detail='Please login as the user "ubuntu" rather than the user "root".'),
            id="other-user",
        ),
        pytest.param(0, '{"status": 1}', "", CloudInitStatus("unclear", detail='{"status": 1}'), id="number"),
        pytest.param(0, '{"a":' * 9999, "", CloudInitStatus("unclear", detail=('{"a":' * 80)[:400] + "..."), id="deep"),
        pytest.param(
            0, said(errors={"a": 1}, stage=["x"], detail=None), "", CloudInitStatus("done", stage="['x']"), id="odd"
        ),
    ],
)
def test_what_cloud_init_says_is_read(code: int, stdout: str, stderr: str, report: CloudInitStatus) -> None:
    assert boot.cloud_init_status(code, stdout, stderr) == report


@pytest.mark.parametrize(
    ("program", "report"),
    [
        pytest.param(None, CloudInitStatus("absent"), id="absent"),
        pytest.param('echo \'{"status": "done"}\'', CloudInitStatus("done"), id="json"),
        pytest.param("[ $2 = --long ] || exit 2; echo status: done", CloudInitStatus("done"), id="long"),
        pytest.param("echo status: done; exit 2", CloudInitStatus("done", degraded=True), id="code"),
        pytest.param("exit 127", CloudInitStatus("unclear", detail="exit code 127"), id="broken"),
    ],
)
def test_the_question_is_one_that_a_shell_understands(
    tmp_path: Path, program: str | None, report: CloudInitStatus
) -> None:
    if program is not None:
        (tmp_path / "cloud-init").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "cloud-init").chmod(0o755)
    # As ansible-core before 2.17 sends it; the program `timeout` is not there.
    answer = subprocess.run(
        ["/bin/sh", "-c", f"{boot.ASK} && /bin/sleep 0"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert boot.cloud_init_status(answer.returncode, answer.stdout, answer.stderr) == report


def test_what_hangs_is_asked_once(tmp_path: Path) -> None:
    for name, program in (("cloud-init", "exit 1"), ("timeout", 'echo "$@" >> "$0.log"; exit 124')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / name).chmod(0o755)
    answer = subprocess.run(["/bin/sh", "-c", boot.ASK], env={"PATH": str(tmp_path)}, check=False)
    assert boot.cloud_init_status(answer.returncode, "", "").detail == "it did not answer within 20 seconds"
    assert (tmp_path / "timeout.log").read_text() == "20 cloud-init status --format json\n"


HINT = (
    " Set ansible_ssh_private_key_file to the private half of the key that was bought with; if that has a passphrase,"
    " ssh-add it."
)
UNKNOWN = (
    "This computer finds no address of the machine: Could not resolve hostname gpu-1: Name or service not known."
    " Check ansible_host, and DNS."
)
FOR_A_MINUTE = "This goes on for 1 minute at most."
REFUSES = "SSH refuses the user's key: root@203.0.113.7: Permission denied (publickey)." + HINT
PATIENT = REFUSES + " It may be installed late: this goes on for 4 minutes at most."
CHANGED = (
    "SSH refuses the host key that the machine answers with: Host key for 203.0.113.7 has changed and you have"
    " requested strict checking. Host key verification failed."
)
SEEDED = BootTimeouts(600, 1800, seeded=True)


@pytest.mark.parametrize(
    ("wait", "error", "now", "step"),
    [
        pytest.param(
            Wait(LIMITS), REFUSED, 5, BootStep("SSH does not answer yet: Connection refused.", 1.0), id="refused"
        ),
        pytest.param(Wait(LIMITS), DEBUG, 5, BootStep("SSH does not answer yet: Host is down.", 1.0), id="debug"),
        pytest.param(
            Wait(LIMITS), "", 5, BootStep("SSH does not answer yet: the connection was closed.", 1.0), id="silent"
        ),
        pytest.param(
            Wait(LIMITS),
            REFUSED,
            600,
            BootStep("SSH does not answer within 10 minutes: Connection refused.", failed=True),
            id="late",
        ),
        pytest.param(
            Wait(LIMITS),
            "ControlPath too long ('/a/b' >= 108 bytes)",
            0,
            BootStep(
                "SSH cannot work on this computer: ControlPath too long ('/a/b' >= 108 bytes)."
                " Set ANSIBLE_SSH_CONTROL_PATH_DIR to a folder with a shorter path.",
                failed=True,
            ),
            id="control-path",
        ),
        pytest.param(
            Wait(LIMITS),
            "Failed to connect to the host via ssh: Bad owner or permissions on /home/me/.ssh/config",
            0,
            BootStep(
                "SSH cannot work on this computer: Bad owner or permissions on /home/me/.ssh/config.", failed=True
            ),
            id="own-settings",
        ),
        pytest.param(
            Wait(LIMITS),
            "@@@@\n@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\n@@@@\nPermissions 0644 for '/k' are too open.\n"
            'Load key "/k": bad permissions\nroot@203.0.113.7: Permission denied (publickey).',
            0,
            BootStep(
                "SSH cannot work on this computer: Permissions 0644 for '/k' are too open. Load key \"/k\": bad"
                " permissions root@203.0.113.7: Permission denied (publickey).",
                failed=True,
                urgent=True,
                permission_denied=True,
            ),
            id="open-key",
        ),
        pytest.param(
            Wait(LIMITS), OTHER_KEY, 0, BootStep(CHANGED, failed=True, host_key_refused=True), id="another-host-key"
        ),
        pytest.param(
            Wait(SEEDED),
            OTHER_KEY,
            599,
            BootStep(
                CHANGED + " The first boot may not have installed the one that was handed over yet.",
                1.0,
                host_key_refused=True,
            ),
            id="seeded",
        ),
        pytest.param(
            Wait(SEEDED), OTHER_KEY, 600, BootStep(CHANGED, failed=True, host_key_refused=True), id="seeded-late"
        ),
        pytest.param(
            Wait(LIMITS), DENIED, 300, BootStep(PATIENT, 5.0, urgent=True, permission_denied=True), id="denied-first"
        ),
        pytest.param(
            Wait(LIMITS, denied=300),
            DENIED,
            540,
            BootStep(REFUSES, failed=True, urgent=True, permission_denied=True),
            id="denied-for-four-minutes",
        ),
        pytest.param(
            Wait(LIMITS, denied=500),
            DENIED,
            600,
            BootStep(REFUSES, failed=True, urgent=True, permission_denied=True),
            id="denied-and-late",
        ),
        pytest.param(
            Wait(LIMITS), NO_ADDRESS, 300, BootStep(f"{UNKNOWN} {FOR_A_MINUTE}", 1.0, urgent=True), id="no-address"
        ),
        pytest.param(
            Wait(LIMITS, unresolved=300),
            NO_ADDRESS,
            359,
            BootStep(f"{UNKNOWN} {FOR_A_MINUTE}", 1.0, urgent=True),
            id="no-address-yet",
        ),
        pytest.param(
            Wait(LIMITS, unresolved=300),
            NO_ADDRESS,
            360,
            BootStep(UNKNOWN, failed=True, urgent=True),
            id="no-address-for-a-minute",
        ),
        pytest.param(
            UP,
            REFUSED,
            700,
            BootStep("The machine was lost while cloud-init ran. SSH does not answer yet: Connection refused.", 1.0),
            id="lost",
        ),
    ],
)
def test_what_follows_an_attempt_that_failed(wait: Wait, error: str, now: float, step: BootStep) -> None:
    assert boot.after_failure(wait, error, now)[1] == step


@pytest.mark.parametrize(
    "error",
    [
        NO_ADDRESS,
        "ssh: Could not resolve hostname gpu-1: Temporary failure in name resolution",
        "ssh: Could not resolve hostname gpu-1: nodename nor servname provided, or not known",
        "[Errno -5] No address associated with hostname",  # of Python, for paramiko
        "[Errno -2] Name or service not known",
    ],
)
def test_a_name_without_an_address_is_waited_for_no_longer_than_a_minute_at_a_time(error: str) -> None:
    wait, _step = boot.after_failure(Wait(LIMITS), error, 0)
    wait, step = boot.after_failure(wait, error, 59)
    assert step.pause is not None
    assert boot.after_failure(wait, error, 60)[1].failed
    wait, step = boot.after_failure(wait, REFUSED, 60)
    assert (wait.unresolved, step.pause) == (None, 1.0)
    assert boot.after_failure(boot.connected(wait, 61), error, 400)[0].unresolved == 400


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
def test_who_is_refused(error: str, denied: bool, other_key: bool) -> None:
    _wait, step = boot.after_failure(Wait(LIMITS), error, 0)
    assert (step.permission_denied, step.host_key_refused) == (denied, other_key)


def test_a_machine_may_be_lost_three_times() -> None:
    wait, now = boot.connected(Wait(BootTimeouts(connect=100, boot=1800)), 10), 10.0
    for lost in (1, 2, 3):
        wait, step = boot.after_failure(wait, REFUSED, now + 10)
        assert (step.failed, wait.lost) == (False, lost)
        wait, step = boot.after_failure(wait, REFUSED, now + 109)
        assert not step.failed, "each time it has as long as at first"
        assert boot.after_failure(wait, REFUSED, now + 110)[1].failed
        now += 109
        wait = boot.connected(wait, now)
    wait, step = boot.after_failure(wait, "Connection to 203.0.113.7 closed.", now)
    assert step == BootStep(
        "The machine does not stay reachable while cloud-init runs; it was lost 4 times."
        " Connection to 203.0.113.7 closed.",
        failed=True,
    )
    assert wait.connected == 10


def test_a_key_that_is_refused_again_later_has_its_time_again() -> None:
    wait, _step = boot.after_failure(Wait(LIMITS), DENIED, 0)
    wait, _step = boot.after_failure(boot.connected(wait, 100), DENIED, 300)
    assert wait.denied == 300


RUNNING = CloudInitStatus("running", stage="modules-final")


@pytest.mark.parametrize(
    ("report", "now", "step"),
    [
        pytest.param(CloudInitStatus("done"), 21, BootStep("cloud-init has finished."), id="done"),
        pytest.param(CloudInitStatus("done"), 9999, BootStep("cloud-init has finished."), id="done-late"),
        pytest.param(CloudInitStatus("disabled"), 21, BootStep("cloud-init is disabled."), id="disabled"),
        pytest.param(CloudInitStatus("absent"), 21, BootStep("There is no cloud-init on the machine."), id="absent"),
        pytest.param(
            CloudInitStatus("absent", detail="marked"),
            21,
            BootStep("There is no cloud-init on the machine."),
            id="marked",
        ),
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
            CloudInitStatus("error", ("x" * 400,) * 20),
            21,
            BootStep(f"cloud-init has failed: {'x' * 400}.", failed=True),
            id="long-error",
        ),
        pytest.param(RUNNING, 21, BootStep("cloud-init is still running (in stage modules-final).", 2.0), id="running"),
        pytest.param(RUNNING, 80, BootStep("cloud-init is still running (in stage modules-final).", 10.0), id="slowly"),
        pytest.param(
            RUNNING, 1817, BootStep("cloud-init is still running (in stage modules-final).", 3.0), id="at-the-end"
        ),
        pytest.param(
            RUNNING,
            1820,
            BootStep("cloud-init is still running after 30 minutes (in stage modules-final).", failed=True),
            id="too-long",
        ),
        pytest.param(
            CloudInitStatus("running", ("a",), "DataSourceX", "init"),
            21,
            BootStep("cloud-init is still running (in stage init; a).", 2.0),
            id="running-with-errors",
        ),
        pytest.param(
            CloudInitStatus("running", detail="DataSourceX"),
            21,
            BootStep("cloud-init is still running.", 2.0),
            id="plain",
        ),
        pytest.param(
            CloudInitStatus("not run", detail="Reason"),
            21,
            BootStep("cloud-init still says 'not run' (Reason).", 2.0),
            id="not-run",
        ),
        pytest.param(
            CloudInitStatus("unclear", detail="What"),
            21,
            BootStep("cloud-init does not say how far it is: What.", 2.0),
            id="unclear",
        ),
    ],
)
def test_what_follows_an_answer(report: CloudInitStatus, now: float, step: BootStep) -> None:
    assert boot.after_report(UP, report, now)[1] == step


ABSENT = "There is no cloud-init on the machine, and its user data have left no mark"
MARKED = boot.connected(Wait(BootTimeouts(connect=600, boot=1800, marked=True)), 20)


@pytest.mark.parametrize(
    ("report", "now", "step"),
    [
        (CloudInitStatus("absent"), 21, BootStep(f"{ABSENT} yet.", 2.0)),
        (CloudInitStatus("absent"), 100, BootStep(f"{ABSENT} yet.", 10.0)),
        (CloudInitStatus("absent"), 1819.5, BootStep(f"{ABSENT} yet.", 0.5)),
        (
            CloudInitStatus("absent"),
            1820,
            BootStep(
                f"{ABSENT} within 30 minutes: it did not run its user data. If your template leaves none, put a comment"
                " into it: supply-booted: none.",
                failed=True,
            ),
        ),
        (CloudInitStatus("absent", detail="marked"), 21, BootStep("There is no cloud-init on the machine.")),
        (CloudInitStatus("absent", detail="marked"), 9999, BootStep("There is no cloud-init on the machine.")),
        # cloud-init itself tells how it went.
        (CloudInitStatus("done"), 21, BootStep("cloud-init has finished.")),
        (CloudInitStatus("disabled"), 21, BootStep("cloud-init is disabled.")),
    ],
)
def test_a_machine_without_cloud_init_and_without_the_mark_did_not_run_its_user_data(
    report: CloudInitStatus, now: float, step: BootStep
) -> None:
    assert boot.after_report(MARKED, report, now)[1] == step


@pytest.mark.parametrize("place", ["var", "home", "both", ""])
def test_the_mark_is_found_where_templates_leave_it(tmp_path: Path, place: str) -> None:
    var = tmp_path / "var"
    for folder, name in ((var, boot.MARK), (tmp_path, f".{boot.MARK}")):
        folder.mkdir(exist_ok=True)
        if place in ("both", "var" if folder == var else "home"):
            (folder / name).touch()
    question = boot.ASK.replace("/var/lib", str(var))
    answer = subprocess.run(
        ["/bin/sh", "-c", question],
        env={"PATH": "/nowhere", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = CloudInitStatus("absent", detail="marked" if place else "")
    assert boot.cloud_init_status(answer.returncode, answer.stdout, answer.stderr) == expected


@pytest.mark.parametrize(
    ("user_data", "leaves"),
    [
        (None, False),
        ("", False),
        ("#!/bin/sh\n", True),
        ("#cloud-config\nhostname: a\n", True),
        ("#cloud-config\n# supply-booted: none\n", False),
    ],
)
def test_user_data_leave_a_mark_unless_they_say_otherwise(user_data: str | None, leaves: bool) -> None:
    assert sending.leaves_mark(user_data) is leaves


@pytest.mark.parametrize("template", ["cloud-config.yaml.j2", "startup.sh.j2"])
def test_the_templates_leave_the_mark(template: str) -> None:
    text = (ROOT / "roles" / "provision" / "templates" / template).read_text()
    assert text.count(f"touch /var/lib/{boot.MARK} || touch ~/.{boot.MARK}") == 1
    assert sending.leaves_mark(text)


def test_what_cannot_be_read_is_waited_for_four_minutes() -> None:
    wait, step = boot.after_report(UP, CloudInitStatus("unclear", detail="What"), 100)
    assert not boot.after_report(wait, CloudInitStatus("unclear", detail="What"), 339)[1].failed
    assert boot.after_report(wait, CloudInitStatus("unclear", detail="What"), 340)[1].failed
    wait, step = boot.after_report(wait, RUNNING, 200)
    assert (wait.unclear, step.failed) == (None, False)
