"""The bridge: a trained run becomes a bundle that a device runs."""
