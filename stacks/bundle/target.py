"""What a bundle is for: Linux on one kind of processor, with the C library of Amazon Linux 2023."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from pathlib import Path

from components.aws.settings.runner import Machine
from stacks.bundle import BundleError

PYTHON = "3.12"
GLIBC = 34
"""The minor version of the C library, 2.34; it runs what asks for this one or an older."""
_OLDEST_GLIBC = 5
_LEGACY = ("manylinux2014", "manylinux2010", "manylinux1", "linux")
"""Older names of the same platforms, which wheels still carry."""
_ELF_MACHINES: dict[Machine, int] = {"x86_64": 62, "aarch64": 183}
_ELF_MAGIC = b"\x7fELF"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of processor."""

    machine: Machine

    @property
    def goarch(self) -> str:
        """As Pulumi's releases of plugins call it."""
        return {"x86_64": "amd64", "aarch64": "arm64"}[self.machine]

    @property
    def platforms(self) -> tuple[str, ...]:
        """Tags of the wheels that run there, the newest first (PEP 600)."""
        known = [f"manylinux_2_{minor}" for minor in range(GLIBC, _OLDEST_GLIBC - 1, -1)]
        return tuple(f"{name}_{self.machine}" for name in (*known, *_LEGACY))

    @property
    def markers(self) -> dict[str, str]:
        """What environment markers of requirements are held against (PEP 508)."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{PYTHON}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{PYTHON}.0",
            "python_version": PYTHON,
            "sys_platform": "linux",
        }

    def require(self, file: Path) -> None:
        """Raises `BundleError` where `file` is a program that cannot run there; scripts can."""
        with file.open("rb") as opened:
            head = opened.read(20)
            if head[:2] == b"#!" or not _is_program(head, file):
                return
            if (
                head[:4] != _ELF_MAGIC
                or int.from_bytes(head[18:20], "little") != (_ELF_MACHINES[self.machine])
            ):
                raise BundleError(f"{file} is not a program for Linux on {self.machine}")
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                asked = [int(found) for found in re.findall(rb"GLIBC_2\.(\d+)", content)]
        if max(asked, default=0) > GLIBC:
            raise BundleError(
                f"{file} needs the C library 2.{max(asked)}, and the runner's Amazon Linux 2023 "
                f"has 2.{GLIBC}: take the maker's release instead"
            )


def _is_program(head: bytes, file: Path) -> bool:
    return head[:4] == _ELF_MAGIC or bool(file.stat().st_mode & 0o111)
