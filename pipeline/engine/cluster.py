"""What stages.yaml says for `engine: ray`: which cluster, and what a worker of a stage needs of its node."""

from collections.abc import Mapping, Sequence

from pydantic import Field, field_validator

from pipeline.engine.config import Config


class Needs(Config):
    """What one worker of a stage needs of the node it is on; Ray puts no more of them there than fit.

    `gpus`: a share of one, or whole ones; None is what the stage can use, if the cluster has any. `reserve_mb`: memory
    that is kept for it (`memory_mb` is the bound at which it is ended).
    """

    cpus: float = Field(1, ge=0)
    gpus: float | None = Field(0, ge=0)
    reserve_mb: int = Field(0, ge=0)

    @field_validator("gpus")
    @classmethod
    def _share_or_whole(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ValueError("a share of a GPU is at most 1; more than one are whole ones")
        return gpus

    def own_gpus(self) -> float:
        """How many of a cluster that has any, where `gpus` does not say it."""
        return 1

    def resources(self, gpus_there: bool) -> dict[str, float]:
        """In Ray's words, nothing that is not needed; `gpus_there`: whether the cluster has any GPU."""
        gpus = self.own_gpus() * gpus_there if self.gpus is None else self.gpus
        wanted = {"CPU": self.cpus, "GPU": gpus, "memory": float(self.reserve_mb << 20)}
        return {name: amount for name, amount in wanted.items() if amount}


def gpus_of(device: str) -> float:
    """How many a worker on a device, as torch names it, can use."""
    return float(device == "auto" or device.startswith("cuda"))


class RayCluster(Config):
    """`address`: of the cluster's head, or "auto": the one that this machine is a node of. `wait_s`: how long a stage
    waits for a node that has what it needs to join, before it gives up."""

    address: str = "auto"
    wait_s: float = Field(60, ge=0)


def fits(wanted: Mapping[str, float], node: Mapping[str, float]) -> bool:
    """Whether an empty node has all that is wanted."""
    return all(node.get(name, 0.0) >= amount for name, amount in wanted.items())


def told(resources: Mapping[str, float]) -> str:
    """"2 CPUs, 0.5 GPU and 4000 MB"; "nothing" of nothing."""
    parts = [f"{resources.get(name, 0):g} {name}{'s' * (resources.get(name, 0) > 1)}" for name in ("CPU", "GPU")
             if resources.get(name)]
    parts += [f"{resources['memory'] / 2**20:.0f} MB"] if resources.get("memory") else []
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]])) or "nothing"


def lacking(stage: str, wanted: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> str:
    """Why no node can take a worker of a stage now, in words."""
    if any(fits(wanted, node) for node in nodes):
        return f"waits for {told(wanted)} on one node: the nodes that have it are taken"
    largest = sorted({told({name: node.get(name, 0.0) for name in ("CPU", "GPU", *({"memory"} & {*wanted}))})
                      for node in nodes})
    return (f"a worker wants {told(wanted)}, and no node has that: there are {' | '.join(largest) or 'no nodes'}. "
            f"Lower {stage}.cpus, gpus or reserve_mb in stages.yaml, or let such a node join")
