"""The failures that a person can mend: their message is all that the command line shows.

A bug is any other exception and keeps its traceback.
"""

from __future__ import annotations


class DeliveryError(Exception):
    """A step cannot go on. The message says what is wrong, where, and what to do about it."""


class NotUpError(DeliveryError):
    """The environment, or the part of it that was asked for, does not answer."""


class DataError(DeliveryError):
    """The data cannot be used; the message names file or table, column and rows."""


class GateFailedError(DeliveryError):
    """A model version missed a gate or lacks what a later step needs; the champion stays."""


class BusyError(DeliveryError):
    """Another run of the same workload holds the lock."""
