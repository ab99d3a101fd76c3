"""How long the output stays on: width, minimum gap, one long pulse for neighbours, and never longer than is allowed."""


class Pulse:
    """The output's time, in ns of CLOCK_MONOTONIC. Drives nothing: it says when to.

    width_ns: of one reject. gap_ns: shortest time off between two pulses; what would be shorter becomes one long pulse where that
    is known in time; a reject is never delayed for it. longest_ns: it is never on for longer, however many parts want it.
    """

    def __init__(self, width_ns: int, gap_ns: int, longest_ns: int) -> None:
        self.gap_ns = gap_ns
        self.merged = 0
        self.short_gaps = 0
        self.width_ns = width_ns
        self._least_ns: int | None = None  # off then at the earliest: its width is over
        self._held_ns = 0  # longer, for as long as it is held
        self._longest_ns = longest_ns
        self._on_since_ns = 0
        self._may_be_on_again_ns: int | None = None

    def change(self, width_ns: int, gap_ns: int) -> None:
        """For rejects that come from now on."""
        self.width_ns, self.gap_ns = width_ns, gap_ns

    @property
    def is_on(self) -> bool:
        return self._least_ns is not None

    @property
    def off_ns(self) -> int | None:
        """When it has to go off, as things stand; None where it is."""
        if self._least_ns is None:
            return None
        return min(max(self._least_ns, self._held_ns), self._on_since_ns + self._longest_ns)

    def is_cut(self, at_ns: int) -> bool:
        """Whether the output, on for a reject since then, had to go off, or will have to, before that one's width is over."""
        return not self.is_on or at_ns + self.width_ns > self._on_since_ns + self._longest_ns

    def reject(self, now_ns: int) -> None:
        """A part to be rejected is here: the output is on from now on, for at least the width."""
        if self._least_ns is not None:
            self.merged += 1
            self._least_ns = max(self._least_ns, now_ns + self.width_ns)
            return
        self.short_gaps += self._may_be_on_again_ns is not None and now_ns < self._may_be_on_again_ns
        self._on_since_ns = now_ns
        self._least_ns = now_ns + self.width_ns

    def confirmed(self, at_ns: int) -> None:
        """The output really is on since then: a slow one stays on for the whole width, too."""
        if self._least_ns is not None:
            self._least_ns = max(self._least_ns, at_ns + self.width_ns)

    def hold_over(self, until_ns: int) -> None:
        """It stays on: another reject comes before it could be on again, or a part is still on its way through the gate."""
        if self.is_on:
            self._held_ns = max(self._held_ns, until_ns)

    def let_go(self) -> None:
        """Nothing more holds it: off once its width is over."""
        self._held_ns = 0

    def is_over(self, now_ns: int) -> bool:
        """Whether the output is on and has to go off."""
        return self.off_ns is not None and now_ns >= self.off_ns

    def is_too_long(self, now_ns: int) -> bool:
        """Whether the output has been on for as long as it ever may."""
        return self.off_ns is not None and now_ns >= self._on_since_ns + self._longest_ns

    def ended(self, now_ns: int) -> None:
        self._least_ns, self._held_ns = None, 0
        self._may_be_on_again_ns = now_ns + self.gap_ns
