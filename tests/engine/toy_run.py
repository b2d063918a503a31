"""One run of the toys in a process of its own, to be interrupted: `python -m tests.engine.toy_run FOLDER SECONDS N`.

SECONDS: what each video takes in each stage. N: processes a stage. SIGTERM interrupts like Ctrl-C.
"""

import signal
import sys
from pathlib import Path

from tests.engine.world import World

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    world = World(Path(sys.argv[1]))
    try:
        world.run(world.chain(seconds=float(sys.argv[2]), workers=int(sys.argv[3])))
    except KeyboardInterrupt:
        sys.exit(130)
