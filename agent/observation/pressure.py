"""PURE  Whether the line itself is so short of time that nothing but the line may have the processor."""

_SLOWLY = 0.05  # weight of one part in the moving mean of the latency
_REST_NS = 10_000_000_000
_PRESSED = 0.5  # share of the time to the gate that verdicts may need before nothing is shown any more


class Pressure:
    """due_ns: time from trigger to gate."""

    def __init__(self, due_ns: int) -> None:
        self._due_ms = due_ns / 1e6
        self.slow_ms = 0.0
        self._took_ns = 0

    def took(self, latency_ms: float, now_ns: int) -> None:
        """A verdict was told so long after its trigger."""
        self._took_ns = now_ns
        self.slow_ms += _SLOWLY * (latency_ms - self.slow_ms)

    def look(self, now_ns: int) -> None:
        """Now and then: where no part has come for a while, nothing is slow."""
        if now_ns - self._took_ns >= _REST_NS:
            self.slow_ms = 0.0

    @property
    def is_on(self) -> bool:
        return self.slow_ms > _PRESSED * self._due_ms

    @property
    def words(self) -> str:
        """For people, while it is on."""
        share = f"verdicts take {self.slow_ms:.0f} ms of the {self._due_ms:.0f} ms to the gate"
        return f"{share}; the live picture is paused: is the processor or accelerator throttled?"
