# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's version, for the user agent.

A module's payload holds no manifest, so the number stands here; a test holds it against galaxy.yml.
"""

from __future__ import annotations

VERSION = "1.0.0"
