"""The ejector process's side of orders, held by a test in place of an ejector process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from agent.gate.operator_side import OPERATOR_SOCKET, GateState, OperatorSide, Order


@contextmanager
def answering(state: Path, obey: Callable[[Order], GateState]) -> Iterator[None]:
    """Orders to the line of this state directory are obeyed for as long as the block runs."""
    stop = threading.Event()
    with closing(OperatorSide(state / OPERATOR_SOCKET)) as side:

        def serve() -> None:
            while not stop.wait(0.002):
                side.serve(obey)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(10)
    (state / OPERATOR_SOCKET).unlink(missing_ok=True)
