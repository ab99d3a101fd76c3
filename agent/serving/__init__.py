"""Which model judges on this device: installed, chosen, compiled, changed between two parts, and what to do when it fails."""
