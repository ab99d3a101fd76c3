"""Strict readers of model files: what is not plain is refused before a runtime opens it."""
