"""The reference collector: what the stations told, each event once, with the proof that none is missing."""
