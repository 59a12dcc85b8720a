# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A development simulator of the Supply API: the documented endpoints, and machines that really answer over SSH.

``python -m simulator`` runs it as a sandbox; ``Simulator`` runs it in a thread of a test. Section numbers in
this package refer to the project's summary of the API's public documentation.
"""

from __future__ import annotations

from .faults import Fault
from .market import Offer, Purchase, Resource, volume
from .nowhere import Nowhere
from .server import Simulator
from .settings import Settings

__all__ = ["Fault", "Nowhere", "Offer", "Purchase", "Resource", "Settings", "Simulator", "volume"]
