# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill ansible-test's cache below the home folder given with the script that installs pip.

ansible-test fetches this script from a server of its own. Where only a package index can be reached, a few lines that
run pip's wheel do the same.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import ansible_test

STAND_IN = """\
import sys
sys.path.insert(0, {wheel!r})
from pip._internal.cli.main import main
unknown = ("--no-setuptools", "--no-wheel")
sys.exit(main(["install", "--upgrade", "--force-reinstall", *(a for a in sys.argv[1:] if a not in unknown)]))
"""


def main(home: Path) -> None:
    sources = Path(ansible_test.__file__).parent
    version = re.search(r"pip='([\d.]+)'", (sources / "_internal/python_requirements.py").read_text())
    url = re.search(r"'(https://\S+)%s\.py'", (sources / "_util/target/setup/requirements.py").read_text())
    if not version or not url:
        return  # another ansible-test, which may do without
    cache = home / ".ansible/test/cache"
    script = cache / f"get_pip_{version[1].replace('.', '_')}.py"
    if script.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(f"{url[1]}{version[1]}.py", timeout=20) as answer:
            content = answer.read().decode()
    except OSError as error:
        print(f"ansible-test's script that installs pip cannot be fetched ({error}): using pip's wheel instead.")
        download = ["download", "--quiet", "--no-deps", "--dest", str(cache), f"pip=={version[1]}"]
        subprocess.run([sys.executable, "-m", "pip", *download], check=True)
        content = STAND_IN.format(wheel=str(next(cache.glob(f"pip-{version[1]}-*.whl"))))
    script.write_text(content)


main(Path(sys.argv[1]))
