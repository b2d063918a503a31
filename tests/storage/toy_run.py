"""One run of the toys into a bucket, to be interrupted: `python -m tests.storage.toy_run FOLDER URL SECONDS`."""

import signal
import sys
from pathlib import Path

from tests.storage.conftest import in_bucket

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    world = in_bucket(Path(sys.argv[1]), sys.argv[2])
    try:
        world.run(world.chain(seconds=float(sys.argv[3]), workers=2))
    except KeyboardInterrupt:
        sys.exit(130)
