"""From photographs of good parts to a fitted model; needs torch, runs on a workstation, never on the device."""
