"""The images that are kept."""
