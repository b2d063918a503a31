import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def _one_thread():
    """The networks here are so small that a second thread costs more than it brings; and sums keep one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
