"""Lets every Python process find simulated GPUs.

With this folder first on PYTHONPATH, and for instance SIMULATED_DEVICE=cuda:2.
"""

import os
import sys
from pathlib import Path

if os.environ.get("SIMULATED_DEVICE"):
    sys.path.append(str(Path(__file__).parents[1]))
    from simulated_device import simulated

    kind, _, count = os.environ["SIMULATED_DEVICE"].partition(":")
    simulation = simulated(kind, int(count or 1))  # kept, or it would end at once
    simulation.__enter__()
