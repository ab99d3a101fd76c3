"""What the tests of training share."""

from fitted import dataset, run_folder

__all__ = ["dataset", "run_folder"]
