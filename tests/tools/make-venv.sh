#!/bin/sh
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Make the virtual environment $1 with the first Python that can. A python3 on PATH proves nothing: it may be too old,
# a pyenv shim that fails, or a distribution's Python without ensurepip.
pyenv=${PYENV_ROOT:-$HOME/.pyenv}
found=
for python in ${PYTHON:-python3 python3.13 python3.12 python3.14 python3.11 python3.10 /usr/bin/python3 \
    "$pyenv"/versions/3.1[0-9]*/bin/python3}; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    found="$found $python ($version)"
    if "$python" -c 'import ensurepip, sys, venv; ensurepip.version(); sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        exec "$python" -m venv --clear "$1"
    fi
done
cat >&2 <<END
No Python was found that is 3.10 or newer and can make virtual environments. Found:${found:- none}.
On Debian and Ubuntu install python3-venv, or name another Python: make PYTHON=/path/to/python3 ...
END
exit 1
