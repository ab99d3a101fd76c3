"""Why a model file is not opened."""


class UnsafeFileError(ValueError):
    """What was found in the file, and what was expected."""
