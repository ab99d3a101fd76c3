"""Answers of a frozen network: the same whether kept or not, and asked for once while there is room."""

import torch
from torch import Tensor

from training.kept import Kept

ROW_BYTES = 3 * 4


def answer(asked: list[int], k: int) -> tuple[Tensor, Tensor]:
    """Rows of 8 and 4 bytes."""
    asked.append(k)
    return torch.tensor([[k, 10.0 * k]]), torch.tensor([[-1.0 * k]])


def test_batches_come_in_the_order_asked_for_and_each_part_is_asked_once() -> None:
    asked: list[int] = []
    kept = Kept(lambda k: answer(asked, k), torch.device("cpu"))

    kept.batch([1, 2])
    pairs, singles = kept.batch([2, 0, 1])

    assert pairs.tolist() == [[2.0, 20.0], [0.0, 0.0], [1.0, 10.0]]
    assert singles.tolist() == [[-2.0], [0.0], [-1.0]]
    assert asked == [1, 2, 0]


def test_parts_beyond_the_limit_are_asked_each_time_with_the_same_result() -> None:
    asked: list[int] = []
    kept = Kept(lambda k: answer(asked, k), torch.device("cpu"), limit_bytes=2 * ROW_BYTES)

    first, second = kept.batch([0, 1, 2]), kept.batch([0, 1, 2])

    assert asked == [0, 1, 2, 2]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_no_gradient_reaches_the_network_that_answers() -> None:
    weight = torch.ones(1, 1, requires_grad=True)

    (rows,) = Kept(lambda k: (k * weight,), torch.device("cpu")).batch([3])

    assert not rows.requires_grad
