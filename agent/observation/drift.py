"""PURE  Whether parts, light or line have changed since the model was calibrated: alarms for people, and nothing but alarms.

No threshold is ever moved by what is found here: a line that slowly gets worse must not teach its inspection to accept it.
"""

import math
from collections import deque

from agent.inspection import Measured, Outcome, Verdict
from agent.sections import WatchDrift

_TRIMMED = 0.05  # parts stranger than 95 % of the good ones may be defects and say nothing of the good ones
_ALLOWED = 0.05  # shift of the mean p-value that nobody needs to know of
_VARIANCE = 1 / 12  # of a uniform p-value
_LOOKS = 10  # times that a window is looked at while it is filled anew
_AT_LEAST = 50  # parts before a share says anything
_IN_A_ROW = 20
_BRIGHTNESS_SIGMAS, _BRIGHTNESS_LEVELS, _SLOWLY = 6.0, 4.0, 0.05


class Uniformity:
    """Kolmogorov and Smirnov's distance of the last p-values to those of calibration, and a cumulative sum of their shift.

    calibration: number of good parts that the p-values rest on; few of them are themselves off by chance, and are allowed for.
    The limits are such that good parts like those of calibration alarm about once in `once_in` parts.
    """

    def __init__(self, window: int, calibration: int, once_in: float) -> None:
        self._values: deque[float] = deque(maxlen=window)
        self._every = max(1, window // _LOOKS)
        self._since = 0
        self.distance = self.stranger = self.alike = 0.0
        # Two samples of n and m: P(D > c sqrt((n + m) / nm)) is about 2 exp(-2 c^2) (Smirnov 1948)
        c = math.sqrt(-math.log(self._every / once_in / 2) / 2)
        self.distance_limit = c * math.sqrt((window + calibration) / (window * calibration))
        # One-sided CUSUM with allowance k: average run length about exp(2kh/s2) s2/(2k^2) (Siegmund 1985, without overshoot)
        self._allowance = _ALLOWED + 2 * math.sqrt(_VARIANCE / calibration)
        rate = 2 * self._allowance / _VARIANCE
        self.shift_limit = math.log(1 + rate * self._allowance * once_in) / rate

    def add(self, p_value: float) -> None:
        """Of a part that was judged."""
        if p_value <= _TRIMMED:
            return
        u = (p_value - _TRIMMED) / (1 - _TRIMMED)
        most = 2 * self.shift_limit  # so that it can come down again
        self.stranger = min(most, max(0.0, self.stranger + 0.5 - u - self._allowance))
        self.alike = min(most, max(0.0, self.alike + u - 0.5 - self._allowance))
        self._values.append(u)
        self._since += 1
        if self._since >= self._every and len(self._values) == self._values.maxlen:
            self._since = 0
            self.distance = _distance(sorted(self._values))


class Drift:
    """All alarms over one station's parts. calibration: number of good parts of the calibration table."""

    def __init__(self, config: WatchDrift, calibration: int) -> None:
        self._config = config
        self._uniformity = Uniformity(config.parts, calibration, config.once_in_parts)
        self._rejected: deque[bool] = deque(maxlen=config.parts)
        self._first: list[float] = []
        self._brightness: float | None = None
        self._alarms: dict[str, str] = {}

    def anew(self, calibration: int) -> "Drift":
        """The same watch, for another model."""
        return Drift(self._config, calibration)

    @property
    def alarms(self) -> dict[str, str]:
        """Names and words of what is so now. An alarm ends at half of what raised it."""
        return dict(self._alarms)

    @property
    def numbers(self) -> dict[str, float]:
        uniformity = self._uniformity
        light = {} if self._brightness is None else {"brightness": self._brightness}
        return {
            "drift_distance": uniformity.distance / uniformity.distance_limit,
            "drift_stranger": uniformity.stranger / uniformity.shift_limit,
            "drift_alike": uniformity.alike / uniformity.shift_limit,
            "reject_share": self._share,
            **light,
        }

    def took(self, measured: Measured) -> None:
        """A part was judged; one that could not be says nothing of the score."""
        if measured.p_value is None:
            return
        self._uniformity.add(measured.p_value)
        uniformity, parts = self._uniformity, self._config.parts
        words = f"the last {parts} parts are not like those of calibration (distance {uniformity.distance:.2f}): look at them"
        self._judge("drift-distribution", uniformity.distance / uniformity.distance_limit, words)
        words = "parts get stranger little by little: dirty lens, light, worn tool, or another batch"
        self._judge("drift-stranger", uniformity.stranger / uniformity.shift_limit, words)
        words = "parts look more alike than good parts do: is the camera still seeing the parts?"
        self._judge("drift-alike", uniformity.alike / uniformity.shift_limit, words)

    def ended(self, verdict: Verdict) -> None:
        """A part has passed the gate."""
        self._rejected.append(verdict.outcome is Outcome.REJECT)
        in_a_row = sum(list(self._rejected)[-_IN_A_ROW:]) / _IN_A_ROW
        self._judge("reject-run", in_a_row, f"{_IN_A_ROW} parts in a row were rejected")
        if len(self._rejected) >= _AT_LEAST:
            words = f"{100 * self._share:.0f} % of the last {len(self._rejected)} parts rejected"
            self._judge("reject-rate", self._share / self._config.reject_share, words)

    def looked(self, brightness: float) -> None:
        """Mean grey level of an image now and then, 0 to 255; the first ones are what the later ones are compared with."""
        if len(self._first) < _AT_LEAST:
            self._first.append(brightness)
            return
        mean = sum(self._first) / len(self._first)
        sigma = math.sqrt(sum((value - mean) ** 2 for value in self._first) / len(self._first))
        before = self._brightness if self._brightness is not None else mean
        self._brightness = before + _SLOWLY * (brightness - before)
        allowed = max(_BRIGHTNESS_LEVELS, _BRIGHTNESS_SIGMAS * sigma * math.sqrt(_SLOWLY / (2 - _SLOWLY)))
        words = f"images have a mean grey level of {self._brightness:.0f}, {mean:.0f} when inspection began: look at the light"
        self._judge("drift-brightness", abs(self._brightness - mean) / allowed, words)

    @property
    def _share(self) -> float:
        return sum(self._rejected) / len(self._rejected) if self._rejected else 0.0

    def _judge(self, name: str, level: float, words: str) -> None:
        """level: 1 raises the alarm, 0.5 ends it."""
        if level >= 1:
            self._alarms.setdefault(name, words)
        elif level < 0.5:
            self._alarms.pop(name, None)


def _distance(values: list[float]) -> float:
    """Largest distance between the share of values so far and the values, which are sorted and should be uniform on (0, 1]."""
    n = len(values)
    return max(max((k + 1) / n - value, value - k / n) for k, value in enumerate(values))
