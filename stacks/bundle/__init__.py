"""All that a runner without a way out needs, in one file: made here, unpacked there."""


class BundleError(Exception):
    """The bundle was not made; the message says what to do."""
