from tests.detector.conftest import _one_thread  # noqa: F401
