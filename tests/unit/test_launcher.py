# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that tests start with the launcher behave as if `subprocess` had started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jinja2 import Environment

from kept import is_computed
from launcher import CLOCK, Program, Request, stand_ins
from limits import HANGS, until

ANSIBLE = str(Path(sys.executable).with_name("ansible-playbook"))


def run(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Run a program and return its exit code and its output."""
    with Program(words, folder, {**os.environ, **environment}) as program:
        return program.wait(HANGS), program.read()


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_program_returns_exit_code_and_output(tmp_path: Path) -> None:
    assert run(tmp_path, "sh", "-c", 'pwd; echo "$WORD" >&2; cat; exit 3', WORD="word") == (3, f"{tmp_path}\nword\n")
    assert run(tmp_path, "sh", "-c", "kill -TERM $$") == (-signal.SIGTERM, "")


def test_command_uses_its_own_folder_and_environment(tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").touch()
    for home in ("one", "two"):
        code, printed = run(tmp_path, ANSIBLE, "--version", ANSIBLE_HOME=str(tmp_path / home))
        assert code == 0 and f"config file = {tmp_path / 'ansible.cfg'}" in printed, printed
        assert f"'{tmp_path / home}/plugins/modules'" in printed, printed
    code, printed = run(tmp_path, ANSIBLE, "missing.yml")
    assert code == 1 and "missing.yml could not be found" in printed


def test_each_command_rereads_settings_and_has_its_own_temporary_folder(tmp_path: Path) -> None:
    settings, play = tmp_path / "ansible.cfg", tmp_path / "play.yml"
    task = "copy: {content: '{{ lookup(\"config\", \"DEFAULT_FORKS\") }}', dest: '{{ item }}'}"
    play.write_text(f"[{{hosts: localhost, gather_facts: false, tasks: [{{{task}, loop: [{tmp_path}/forks]}}]}}]")
    for forks in ("7", "8"):
        settings.write_text(f"[defaults]\nforks = {forks}\nlocal_tmp = {tmp_path}/local\n")
        for _time in range(2):
            code, printed = run(tmp_path, ANSIBLE, "play.yml")
            assert code == 0, printed
        assert (tmp_path / "forks").read_text() == forks
        assert list((tmp_path / "local").iterdir()) == [], "a command removes its temporary folder when it ends"
    settings.write_text("[defaults\n")
    for _time in range(2):
        code, printed = run(tmp_path, ANSIBLE, "play.yml")
        assert code != 0 and "Error reading config file" in printed, printed


def test_next_command_reuses_built_modules(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(
        "[{hosts: localhost, gather_facts: false, tasks: [{stat: {path: /}}, {debug: {msg: '{{ word | upper }}'}}]}]"
    )
    for word in ("one", "two"):
        code, printed = run(tmp_path, ANSIBLE, "-vvv", "play.yml", "-e", f"word={word}", ANSIBLE_DEBUG="1")
        assert code == 0 and word.upper() in printed, printed
    assert "using cached module" in printed and "Creating module" not in printed


def test_is_computed_finds_templates_that_call_plugins_when_compiled() -> None:
    """Such templates are not kept, since the plugin may return something else in the next command."""
    assert not is_computed(Environment().parse("{{ word | upper }}{{ word is string }}"))
    for template in ("{{ 'word' | upper }}", "{% if 'word' is string %}{% endif %}"):
        assert is_computed(Environment().parse(template))


def test_command_with_clock_ahead_is_forked(tmp_path: Path) -> None:
    (tmp_path / "filter_plugins").mkdir()
    (tmp_path / "filter_plugins" / "clock.py").write_text(
        "import time\nclass FilterModule:\n    filters = lambda self: {'since': lambda start: time.time() - start}\n"
    )
    task = f"{{debug: {{msg: 'hours: {{{{ ((start | since) // 3600) | int }}}}'}}, vars: {{start: {time.time()}}}}}"
    (tmp_path / "play.yml").write_text(f"[{{hosts: localhost, gather_facts: false, tasks: [{task}]}}]")
    path = os.environ["PYTHONPATH"]
    for begin, hours in ((f"{CLOCK}{os.pathsep}", 9000), ("", 0)):
        ahead = {"PYTHONPATH": f"{begin}{path}", "SUPPLY_CLOCK_AHEAD": str(9000 * 3600)}
        assert Request([ANSIBLE], str(tmp_path), {**os.environ, **ahead}).for_fork
        code, printed = run(tmp_path, ANSIBLE, "play.yml", **ahead)
        assert code == 0 and f"hours: {hours}" in printed, printed


def test_command_with_unbuffered_output_is_forked(tmp_path: Path) -> None:
    (tmp_path / "callback_plugins").mkdir()
    (tmp_path / "callback_plugins" / "waits.py").write_text(
        "import time\nfrom pathlib import Path\nfrom ansible.plugins.callback import CallbackBase\n"
        "class CallbackModule(CallbackBase):\n"
        "    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, 'notification', 'waits'\n"
        "    def v2_playbook_on_start(self, playbook):\n"
        "        print('it waits')\n"
        "        while not Path('seen').exists():\n"
        "            time.sleep(0.02)\n"
    )
    (tmp_path / "play.yml").write_text("[{hosts: localhost, gather_facts: false, tasks: []}]")
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "ANSIBLE_CALLBACKS_ENABLED": "waits"}
    assert Request([ANSIBLE], str(tmp_path), env).for_fork
    with Program([ANSIBLE, "play.yml"], tmp_path, env) as program:
        until(lambda: "it waits" in program.read() or program.poll() is not None)
        (tmp_path / "seen").touch()
        assert program.wait(HANGS) == 0 and "it waits" in program.read(), program.read()


def test_stand_in_on_path_runs_the_command(tmp_path: Path) -> None:
    stand_ins(tmp_path, [Path(ANSIBLE)])
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "ANSIBLE_HOME": str(tmp_path)}
    words = ["sh", "-c", "ansible-playbook --version; ansible-playbook missing.yml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 1 and "missing.yml could not be found" in done.stderr, done.stdout
    assert f"'{tmp_path}/plugins/modules'" in done.stdout


def test_command_started_by_ssh_agent_gets_tmpdir(tmp_path: Path) -> None:
    """ssh-agent drops TMPDIR. Without it the launcher could not fork a job of AWX, which runs under ssh-agent."""
    stand_ins(tmp_path, [Path(ANSIBLE)])
    show = "{debug: {msg: \"here: {{ lookup('env', 'TMPDIR') }}!\"}}"
    (tmp_path / "play.yml").write_text(f"[{{hosts: localhost, gather_facts: false, tasks: [{show}]}}]")
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    words = ["ssh-agent", "ansible-playbook", "play.yml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert f"here: {os.environ.get('TMPDIR', '')}!" in done.stdout, done.stdout + done.stderr


def test_stand_in_for_python_runs_module_with_preloaded_imports(tmp_path: Path) -> None:
    stand_ins(tmp_path, [Path(sys.executable)])
    python = str(tmp_path / Path(sys.executable).name)
    imported = "import sys; print(__name__, 'ansible.module_utils.urls' in sys.modules, sys.stdin.read())"

    def run_python(text: str, *words: str) -> tuple[int, str, str]:
        command = [python, *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=os.environ)
        return done.returncode, done.stdout, done.stderr

    assert run_python(f"{imported}; print('said', file=sys.stderr); sys.exit(3)") == (3, "__main__ True \n", "said\n")
    # With any argument the stand-in starts a new Python.
    assert run_python("word", "-c", imported) == (0, "__main__ False word\n", "")


def test_modules_on_pythonpath_override_preloaded_modules(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise ImportError('missing')\n")
    assert run(tmp_path, ANSIBLE, "--version")[0] == 0
    code, _printed = run(tmp_path, ANSIBLE, "--version", PYTHONPATH=str(tmp_path))
    assert code != 0


def test_program_can_be_waited_for_and_killed(tmp_path: Path) -> None:
    with Program(["sleep", "60"], tmp_path, os.environ) as program:
        assert program.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0.05)
        os.killpg(program.pid, signal.SIGINT)
        assert program.wait(HANGS) == program.poll() == -signal.SIGINT
        assert is_alive(program.pid), "the guard must keep the id from being reused while the program is in use"


def test_program_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import os, launcher; print(launcher.Program(['sleep', '60'], '.', os.environ).pid, flush=True); os._exit(9)"
    )
    code, pid = run(tmp_path, sys.executable, "-c", script)
    with Program(["sleep", "60"], tmp_path, os.environ) as given_up:
        pass
    assert code == 9
    until(lambda: not any(is_alive(each) for each in (int(pid), given_up.pid)))
