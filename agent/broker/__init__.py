"""The station at the plant's broker: events out, state kept, commands in."""
