"""Several processes training one model, as torchrun starts them; alone, every function here does nothing.

Each process takes its share of every batch. The contrast of L_db spans the whole batch, so projections are gathered
with their gradients; gradients are then averaged, which makes the step that of one process with the whole batch.
"""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = datetime.timedelta(hours=4)  # while one process reads the features of a large dataset


@dataclass(frozen=True)
class Group:
    """The processes of a run: this one's `rank` of `size`, and its number on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes, logs and shows."""
        return self.rank == 0

    def share(self, plan: np.ndarray) -> np.ndarray:
        """This process's part of batches (steps, 2, B): (steps, 2, B / size). Raises ValueError."""
        if plan.shape[2] % self.size:
            raise ValueError(f"batches of {plan.shape[2]} videos cannot be shared among {self.size} processes evenly: "
                             f"set batch to a multiple of {2 * self.size}")
        return plan[:, :, self.rank::self.size]

    def gather(self, part: Tensor) -> Tensor:
        """(B / size, ...) of each process -> (B, ...), with gradients."""
        if self.size == 1:
            return part
        gathered: Tensor = _Gather.apply(part)
        return gathered

    def average_gradients(self, network: nn.Module) -> None:
        """In one message: the network is small, so a hundred messages would cost more."""
        if self.size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def sum(self, numbers: Tensor) -> Tensor:
        """Elementwise sum over the processes."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return numbers

    def collect(self, value: Any) -> list[Any]:
        """The value of each process, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """A block that the leader runs before the others do."""
        if not self.leads:
            dist.barrier()
        yield
        if self.leads and self.size > 1:
            dist.barrier()


class _Gather(torch.autograd.Function):
    """Parts of equal size from all processes, in order; the gradient of a part is the sum of what all make of it."""

    @staticmethod
    def forward(_: Any, part: Tensor) -> Tensor:
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed.chunk(dist.get_world_size())[dist.get_rank()]


@contextmanager
def join() -> Iterator[Group]:
    """The group that torchrun's environment variables describe: gloo on CPUs, NCCL on GPUs; else this process alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group()
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    backend = "gloo"
    if torch.cuda.is_available() and torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", str(size))):
        backend = "cuda:nccl,cpu:gloo"
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Group(dist.get_rank(), size, local_rank)
    finally:
        dist.destroy_process_group()
