"""The device: cameras, inference, decision, reject gate and events. Never imports torch."""
