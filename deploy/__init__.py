"""What turns a bare machine into a station: provisioning, units, containers, example lines, a bill of materials (README.md)."""
