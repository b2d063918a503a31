"""What commands print: names of files may hold anything, and a terminal obeys it."""

import builtins
from typing import Any

from pipeline.engine.printable import printable


def say(*parts: object, **how: Any) -> None:
    """`print`, fit for a terminal. The files of this folder import it under that name, so that none forgets it."""
    builtins.print(*(printable(str(part)) for part in parts), **how)
