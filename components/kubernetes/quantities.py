"""Amounts as Kubernetes writes them back: `1024Mi` comes back as `1Gi`.

Another form of the same amount would be a change at every refresh. Source: Kubernetes API, type
`Quantity`, "canonical form".
"""

from __future__ import annotations


def cores(amount: float) -> str:
    """Processor time; thousandths are the least."""
    thousandths = round(amount * 1000)
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def mib(amount: int) -> str:
    """Memory or disk, in MiB."""
    for unit in ("Mi", "Gi", "Ti"):
        if amount % 1024 or unit == "Ti":
            break
        amount //= 1024
    return f"{amount}{unit}" if amount else "0"
