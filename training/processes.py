"""Several processes that fit one model, started by `torchrun`: each takes its share of every batch, all keep the same weights.

Gradients are averaged over the processes, so that equal shares give the gradient of the whole batch. BatchNorm normalizes
each share by itself; its running statistics are averaged after each step.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def joined() -> Iterator[None]:
    """Joined with the other processes of `torchrun` for as long as the block runs; nothing where there are none."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    device = best_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Number of this process, 0 for the first or the only one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def process_count() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and tells."""
    return rank() == 0


def wait_for_all() -> None:
    if process_count() > 1:
        distributed.barrier()


def best_device() -> torch.device:
    """A GPU where there is one; of several processes on a machine each has its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def share_of(batch: Sequence[int]) -> list[int]:
    """This process's share of a batch, at least one: of a batch smaller than the processes are many, some are taken twice."""
    return list(batch[rank() :: process_count()]) or [batch[rank() % len(batch)]]


def average(learner: nn.Module, parameters: Sequence[Tensor]) -> None:
    """Gradients and BatchNorm's running statistics become their means over the processes, in one exchange."""
    if process_count() == 1:
        return
    norms = [module for module in learner.modules() if isinstance(module, _BatchNorm)]
    statistics = [value for norm in norms for value in (norm.running_mean, norm.running_var)]
    values = [value for value in [*(p.grad for p in parameters), *statistics] if value is not None]
    flat = torch.cat([value.flatten() for value in values])
    distributed.all_reduce(flat)
    flat /= process_count()
    with torch.no_grad():
        for value, mean in zip(values, torch.split(flat, [value.numel() for value in values]), strict=True):
            value.copy_(mean.view(value.shape))
