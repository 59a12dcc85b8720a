# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that all modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """The common options of everything that talks to the Supply API, and the attributes of its modules."""

    DOCUMENTATION = r"""
options:
  api_token:
    description:
      - The token of the Supply API. It is sent to the origin of O(api_url) only, and never shown.
      - If not set, the value of the environment variable E(COMPUTE_INDEX_API_TOKEN) is used.
    type: str
  api_url:
    description:
      - Where the Supply API is. Plain C(http) is accepted for loopback addresses only.
      - If not set, the value of the environment variable E(COMPUTE_INDEX_API_URL) is used.
    type: str
    default: https://supply-api.compute-index.com
  api_timeout:
    description:
      - Seconds that one request may take in all, from connecting to the end of the body, before its answer counts as
        lost.
    type: float
    default: 60
  api_retries:
    description:
      - How often a request is sent again after a lost connection, a timeout or a passing error of the server.
      - This is done only with requests that are safe to repeat. A purchase is repeated only if it certainly was not
        sent, or if the server asks to come back (429, or 503 with C(Retry-After)) and the offer's status then says that
        no one has bought it.
    type: int
    default: 5
  validate_certs:
    description:
      - Whether the certificate of the API is verified. With V(false), anyone who
        intercepts the connection can read the token.
    type: bool
    default: true
  ca_path:
    description:
      - A file or folder with the certificates of the authorities that are trusted instead of the system's.
    type: path
requirements:
  - requests (Python library)
notes:
  - Proxies are taken from the environment variables E(HTTPS_PROXY) and E(NO_PROXY).
"""

    # For all modules.
    ATTRIBUTES = r"""
options: {}
requirements:
  - Python 3.9 or newer
attributes:
  check_mode:
    description: Can run in check mode and predict the changes, without sending anything that changes something.
  diff_mode:
    description: Says in detail what has changed, or would change, in diff mode.
  idempotent:
    description: When run twice, the second run changes nothing.
  platform:
    description: The systems that it can run on.
    support: full
    platforms: posix
"""

    # For modules with the common options.
    MODULE = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/compute_index.supply.all) in C(module_defaults) to set the common options once.
    support: full
    membership:
      - compute_index.supply.all
notes:
  - Runs where its C(requests) library is, usually on the controller with C(delegate_to=localhost).
  - On the controller it runs in the process of Ansible itself, which takes a tenth of the time. It runs as a module,
    with the same results, if the task has C(async), C(become) or an C(environment) (other than of proxies), if the
    connection is not C(local), C(ansible_python_interpreter) is another Python, or the controller runs macOS. The
    variable C(compute_index_in_process=false) or the environment variable E(COMPUTE_INDEX_IN_PROCESS) set to V(0) asks
    for that; C(-vvv) says which way was taken and why.
  - Every failure has C(msg), C(error_class) and C(status_code). C(error_class) is one of V(auth), V(not_found),
    V(conflict), V(expired), V(invalid), V(rate_limited), V(quota), V(price), V(unavailable), V(protocol) and
    V(unknown_outcome), and is there for C(rescue), as C(ansible_failed_result.error_class).
"""

    PLUGIN = r"""
options:
  api_token:
    env:
      - name: COMPUTE_INDEX_API_TOKEN
  api_url:
    env:
      - name: COMPUTE_INDEX_API_URL
"""
