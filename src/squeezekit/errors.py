"""The two errors that are not a caller's mistake, which is a `ValueError`."""

__all__ = ["DataError", "FormatError"]


class FormatError(Exception):
    """A file is not what it claims to be: wrong magic, failed checksum, cut short, or a wrong size in it.

    Do not trust anything read from such a file; download or build it again.
    """


class DataError(Exception):
    """A set of images cannot be used: no such folder, an empty class, one class only, too many broken files."""
