"""One run of the toys, to be killed: `python -m tests.engine.toy_run FOLDER SECONDS N [RAY CPUS]`.

SECONDS: what each video takes in each stage. N: processes a stage. RAY: the address of a cluster to do it on, the
first stage of it; CPUS: of each process there. SIGTERM interrupts like Ctrl-C.
"""

import signal
import sys
from pathlib import Path

from pipeline.engine.cluster import Needs, RayCluster
from pipeline.engine.on_ray import on_ray
from pipeline.engine.runner import local
from tests.engine.world import World

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    world = World(Path(sys.argv[1]))
    stages = world.chain(seconds=float(sys.argv[2]), workers=int(sys.argv[3]))[: 1 if sys.argv[4:] else 3]
    needs = {stage.name: Needs(cpus=float((sys.argv[5:] or ["1"])[0])) for stage in stages}
    try:
        world.run(stages, engine=local if len(sys.argv) < 5 else
                  lambda log: on_ray(log, RayCluster(address=sys.argv[4]), needs))
    except KeyboardInterrupt:
        sys.exit(130)
