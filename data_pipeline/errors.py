"""The error of bad text, bad stores and full disks."""


class DataError(ValueError):
    """Data that cannot be used. The message is one line: the file or field, what is wrong, the remedy."""
