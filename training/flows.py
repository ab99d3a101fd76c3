"""Affine coupling steps, the layers of normalizing flows: FastFlow's one-sided and AST's two-sided kind.

A step turns features (B, C, H, W) into as many, invertibly, and says by how much it enlarges volume: the logarithm of its
Jacobian's determinant, as (B, H, W), each place with its own part. The sum over places is the whole image's.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_DAMPING = 0.1  # of the one-sided subnet's answer: a new step changes little
_BOUND = 2.0  # of the one-sided log scale
_GAIN, _BETA = 0.1, 0.5  # gain = 0.1 softplus(raw), softplus of beta 0.5
_UNIT_GAIN = math.log(math.expm1(_BETA / _GAIN)) / _BETA  # 9.9865: the raw value whose gain is 1
_ATAN = 0.636  # about 2 / pi, so that the soft clamp tends to +-alpha
_LIMIT = 1e6  # of the two-sided step's output


class OneSidedCoupling(nn.Module):
    """One half of the channels scales and shifts the other; then a learned gain and offset per channel, then a permutation.

    FastFlow's step (the "all in one" block of the FrEIA library). permutation: (C,) of channel indices; it is kept with the
    weights. hidden: channels inside the subnet. kernel: odd, of both of its convolutions.
    """

    permutation: Tensor

    def __init__(self, permutation: Tensor, hidden: int, kernel: int) -> None:
        super().__init__()
        channels = len(permutation)
        self._halves = [channels - channels // 2, channels // 2]
        self.subnet = subnet(self._halves[0], hidden, 2 * self._halves[1], kernel, "zeros")
        self.raw_gain = nn.Parameter(torch.full((1, channels, 1, 1), _UNIT_GAIN))
        self.offset = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("permutation", permutation)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to as many, and the log-determinant (B, H, W).

        Outside of the subnet all places are one axis: of such channels a runtime splits, joins and permutes whole rows.
        """
        places = features.shape[2:]
        first, second = torch.split(features.flatten(2), self._halves, dim=1)  # (B, C1, H*W), (B, C2, H*W)
        answer = self.subnet(first.reshape(len(first), -1, *places)).flatten(2)
        raw_scale, shift = (_DAMPING * answer).chunk(2, dim=1)  # (B, C2, H*W) each
        log_scale = _BOUND * raw_scale.tanh()
        gain = (_GAIN * F.softplus(self.raw_gain, beta=_BETA)).flatten(2)  # (1, C, 1)
        scaled = torch.cat([first, second * log_scale.exp() + shift], dim=1) * gain + self.offset.flatten(2)
        log_det = log_scale.sum(dim=1) + gain.log().sum()
        return scaled.index_select(1, self.permutation).view_as(features), log_det.view(-1, *places)


class TwoSidedCoupling(nn.Module):
    """A permutation, then each half of the channels scales and shifts the other, knowing a condition; starts as the identity.

    AST's block. permutation: (C,) of channel indices; it is kept with the weights. condition: its channels. hidden: channels
    inside the subnets. kernel: odd, of all convolutions. alpha: largest log scale.
    """

    permutation: Tensor

    def __init__(self, permutation: Tensor, condition: int, hidden: int, kernel: int, alpha: float) -> None:
        super().__init__()
        channels = len(permutation)
        self._halves = one, two = [channels // 2, channels - channels // 2]
        self._alpha = alpha
        self.by_second = subnet(two + condition, hidden, 2 * one, kernel, "replicate")
        self.by_first = subnet(one + condition, hidden, 2 * two, kernel, "replicate")
        self.gammas = nn.Parameter(torch.zeros(2))  # of by_second and by_first
        self.register_buffer("permutation", permutation)

    def forward(self, features: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) and (B, condition, H, W) to (B, C, H, W), and the log-determinant (B, H, W)."""
        permuted = features.index_select(1, self.permutation)
        first, second = torch.split(permuted, self._halves, dim=1)  # (B, C1, H, W), (B, C2, H, W)
        first, by_second = self._coupled(first, self.gammas[0] * self.by_second(torch.cat([second, condition], dim=1)))
        second, by_first = self._coupled(second, self.gammas[1] * self.by_first(torch.cat([first, condition], dim=1)))
        return torch.cat([first, second], dim=1).clamp(-_LIMIT, _LIMIT), by_second + by_first

    def _coupled(self, half: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
        """A half scaled and shifted by the other's answer (B, 2 C_half, H, W), and the log-determinant (B, H, W)."""
        raw_scale, shift = answer.chunk(2, dim=1)
        log_scale = soft_clamp(raw_scale, self._alpha)
        return half * log_scale.exp() + shift, log_scale.sum(dim=1)


def soft_clamp(values: Tensor, alpha: float) -> Tensor:
    """Nearly the values where they are small, never beyond +-alpha.

    >>> soft_clamp(torch.tensor([0.5, 100.0]), alpha=1.9)
    tensor([0.3109, 1.8752])
    """
    return alpha * _ATAN * torch.atan(values / alpha)


def subnet(inputs: int, hidden: int, outputs: int, kernel: int, padding: Literal["zeros", "replicate"]) -> nn.Sequential:
    """Two convolutions that keep height and width. The margin is given as a number: `same` cannot be exported everywhere."""
    margin = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, kernel, padding=margin, padding_mode=padding),
        nn.ReLU(),
        nn.Conv2d(hidden, outputs, kernel, padding=margin, padding_mode=padding),
    )
