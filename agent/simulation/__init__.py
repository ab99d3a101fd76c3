"""A line in virtual time."""
