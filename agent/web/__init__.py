"""The local page and /metrics: a process of its own (`kensa web`), which only reads what the line tells it."""
