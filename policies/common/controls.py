"""Which controls a rule stands for: the one table, many to many.

A rule supports a control; it does not fulfil one by itself. The references to ISO/IEC 27001:2022,
the GDPR and Federal Law 2/2019 are not yet checked against their texts.
"""

from __future__ import annotations

_LOCATION = (
    "ISO27001:2022 A.5.14",
    "ISO27001:2022 A.5.31",
    "UAE-PDPL art 22",
    "UAE-PDPL art 23",
    "GDPR art 44",
    "CBUAE CPS 6.1.6.3",
    "CBUAE Outsourcing Regulation 14/2021 art 6.1",
    "UAE Federal Law 2/2019 art 13",
)
_ENCRYPTION_AT_REST = (
    "ISO27001:2022 A.8.24",
    "UAE-PDPL art 20",
    "GDPR art 32",
    "CBUAE CPS 6.1.6.4",
)

CONTROLS: dict[str, tuple[str, ...]] = {
    "aws-provider-region-is-allowed": _LOCATION,
    "aws-resource-region-is-allowed": _LOCATION,
    "s3-bucket-uses-customer-key": _ENCRYPTION_AT_REST,
}
"""Rule → controls."""
