# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make plugins/module_utils/_cloud_init/schema.py of cloud-init's own schema.

``python tests/tools/make_cloud_config.py FOLDER`` wants the folder of cloud-init's Python package. On Debian that need
not be installed: ``apt-get download cloud-init``, ``dpkg -x cloud-init_*.deb x``, and the folder is
``x/usr/lib/python3/dist-packages/cloudinit``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "plugins" / "module_utils" / "_cloud_init" / "schema.py"

# Keys that the schema leaves out though cloud-init reads them; then those for the Raspberry Pi, which came later.
# ``network`` is missing on purpose: cloud-init does not read it from user data.
ALSO_READ = """
    add_apt_repo_match allow_userdata apt_custom_sources_list apt_ftp_proxy apt_http_proxy apt_https_proxy apt_mirror
    apt_mirror_search apt_mirror_search_dns apt_preserve_sources_list apt_proxy apt_sources datasource datasource_list
    def_log_file log_cfgs manual_cache_clean rsyslog_dir rsyslog_filename syslog_fix_perms unverified_modules
    vendor_data2

    disable_piwiz enable_rpi_connect rpi_interfaces rpi_userconf
"""

FILE = '''\
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that cloud-init {version} knows at the top of a #cloud-config. Made by tests/tools/make_cloud_config.py."""

from __future__ import annotations

_KEYS = """
{keys}
"""
KEYS = frozenset(_KEYS.split())
'''


def wrapped(words: list[str]) -> str:
    """Words in lines of 120 columns."""
    lines = [""]
    for word in words:
        lines += [""] if len(lines[-1]) + len(word) > 115 else []
        lines[-1] += f" {word}"
    return "\n".join(f"   {line}" for line in lines)


def main(folder: Path, target: Path = TARGET) -> None:
    """Write the file. ``folder`` is cloud-init's Python package."""
    version = re.search(r'__VERSION__ = "([\d.]+)"', (folder / "version.py").read_text())
    if not version:
        raise ValueError(f"{folder} has no version of cloud-init")
    schema = json.loads((folder / "config/schemas/schema-cloud-config-v1.json").read_text())
    keys = wrapped(sorted({*schema["properties"], *ALSO_READ.split()}))
    target.write_text(FILE.format(version=version[1], keys=keys))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
