"""What GPUs can do, by model: the cheapest that a pool may give is not always enough. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One model."""

    memory_gib: int
    """Of the smallest that bears the name."""
    compute_capability: float
    """NVIDIA's number of what it computes, such as 8.0 for bfloat16."""


GPUS: Mapping[str, Gpu] = {
    "T4": Gpu(memory_gib=16, compute_capability=7.5),
    "V100": Gpu(memory_gib=16, compute_capability=7.0),
    "A10": Gpu(memory_gib=24, compute_capability=8.6),
    "A10G": Gpu(memory_gib=24, compute_capability=8.6),
    "A30": Gpu(memory_gib=24, compute_capability=8.0),
    "A100": Gpu(memory_gib=40, compute_capability=8.0),
    "L4": Gpu(memory_gib=24, compute_capability=8.9),
    "L40S": Gpu(memory_gib=48, compute_capability=8.9),
    "H100": Gpu(memory_gib=80, compute_capability=9.0),
    "H200": Gpu(memory_gib=141, compute_capability=9.0),
}
"""Source: NVIDIA, "CUDA GPU compute capability", and the data sheets."""


def lesser(
    models: Iterable[str], *, memory_gib: int, compute_capability: float, pool: str
) -> Iterator[str]:
    """Which of the models that `pool` may give do less than is asked; each begins with its key.

    Nothing is asked by 0.
    """
    if not memory_gib and not compute_capability:
        return
    named = tuple(models)
    if not named:
        yield f"gpu_memory_gib: nobody says which GPUs {pool} has: name its gpu_models"
    for model in named:
        gpu = GPUS.get(model)
        if gpu is None:
            yield (
                f"gpu_memory_gib: what {model} of {pool} can do is not known; known are "
                f"{', '.join(GPUS)}: add it to components/kubernetes/gpu_models.py"
            )
            continue
        for key, asked, has in (
            ("gpu_memory_gib", memory_gib, gpu.memory_gib),
            ("compute_capability", compute_capability, gpu.compute_capability),
        ):
            if has < asked:
                yield (
                    f"{key}: is {asked:g}, and {pool} may give {model}, which has {has:g}: name a "
                    "pool of others, or ask for less"
                )
