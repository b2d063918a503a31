"""What all tests share: hypothesis measures no time, which a busy machine would turn into failures; Ctrl-C is heard."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Whoever starts the tests in the background (a script's `make test &`) has them ignore Ctrl-C, and their children
    inherit that; what is tested here are programs that hear it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
