"""What every benchmark says of the machine, and the memory of processes on it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterable

import psutil


def description() -> str:
    """One line about the machine that a table was measured on."""
    memory = psutil.virtual_memory().total / 2**30
    disk = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    load = os.getloadavg()[0]
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{memory:.0f} GiB memory, {disk:.0f} GiB disk free, Python {platform.python_version()}, "
        f"load {load:.1f} at the end"
    )


def megabytes(processes: Iterable[psutil.Process]) -> float:
    """Memory of `processes`, what several share counted in shares (PSS) where the system can say,
    else what is resident.
    """
    total = 0
    for process in processes:
        try:
            found = process.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(found, "pss", found.rss)
    return total / 2**20
