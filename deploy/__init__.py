"""What turns a bare machine into a station: example lines now; units and provisioning later."""
