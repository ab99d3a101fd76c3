"""Progress that tests look at, cut off, or do not want to see."""

import io

from training.progress import Lines


class Cut(Lines):
    """Ctrl-C is pressed after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__(io.StringIO())
        self._left = steps

    def tell(self, figures: str) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


class Told(Lines):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.figures: list[str] = []

    def tell(self, figures: str) -> None:
        self.figures.append(figures)

    @property
    def losses(self) -> list[float]:
        return [float(figures.removeprefix("loss ")) for figures in self.figures]


def quiet() -> Lines:
    return Lines(io.StringIO())
