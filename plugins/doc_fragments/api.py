# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation fragments of the modules and plugins."""

from __future__ import annotations


class ModuleDocFragment:
    """The options for the Supply API, and the attributes of modules."""

    DOCUMENTATION = r"""
options:
  api_token:
    description:
      - The token of the Supply API. It is only sent to the origin of O(api_url), and never shown.
      - If not set, the value of the environment variable E(COMPUTE_INDEX_API_TOKEN) is used.
    type: str
  api_url:
    description:
      - The URL of the Supply API. Plain C(http) is only accepted for loopback addresses.
      - If not set, the value of the environment variable E(COMPUTE_INDEX_API_URL) is used.
    type: str
    default: https://supply-api.compute-index.com
  api_timeout:
    description:
      - Time limit for one request in seconds, from connecting to the end of the answer. After it, the answer counts as
        lost.
    type: float
    default: 60
  api_retries:
    description:
      - How often a request is repeated after a lost connection, a timeout or a transient error of the server.
      - Only requests that are safe to repeat are repeated. A purchase is only repeated if it was certainly not sent, or
        if the server asks to retry (429, or 503 with C(Retry-After)) and the offer's status then shows that no one has
        bought it.
    type: int
    default: 5
  validate_certs:
    description:
      - Whether the API's certificate is verified. With V(false), anyone who intercepts the connection can read the
        token.
    type: bool
    default: true
  ca_path:
    description:
      - A file or folder with certificates of authorities to trust instead of the system's.
    type: path
requirements:
  - requests (Python library)
notes:
  - Proxies are taken from the environment variables E(HTTPS_PROXY) and E(NO_PROXY).
"""

    # For all modules
    ATTRIBUTES = r"""
options: {}
requirements:
  - Python 3.9 or newer
attributes:
  check_mode:
    description: Can run in check mode and predict the changes, without sending a request that changes anything.
  diff_mode:
    description: Shows in diff mode what has changed or would change.
  idempotent:
    description: A second run changes nothing.
  platform:
    description: The supported systems.
    support: full
    platforms: posix
"""

    # For modules with the common options
    MODULE = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/compute_index.supply.all) in C(module_defaults) to set the common options once.
    support: full
    membership:
      - compute_index.supply.all
notes:
  - Needs the Python library C(requests) where it runs, usually on the controller with C(delegate_to=localhost).
  - On the controller it runs in Ansible's own process, which takes a tenth of the time. It runs as a module, with the
    same results, if the task has C(async), C(become) or an C(environment) (other than of proxies), if the connection is
    not C(local), if C(ansible_python_interpreter) is another Python, or if the controller runs macOS. To always run it
    as a module, set the variable C(compute_index_in_process=false), or the environment variable
    E(COMPUTE_INDEX_IN_PROCESS) to V(0). C(-vvv) shows how it ran and why.
  - Every failure has C(msg), C(error_class) and C(status_code). C(error_class) is one of V(auth), V(not_found),
    V(conflict), V(expired), V(invalid), V(rate_limited), V(quota), V(price), V(unavailable), V(protocol) and
    V(unknown_outcome). In C(rescue), it is C(ansible_failed_result.error_class).
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
