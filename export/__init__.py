"""The bridge: a trained run becomes a bundle that a device runs."""

import agent as agent  # before openvino: see there
