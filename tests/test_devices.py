"""The device that a fit will run on, as it is now."""

from __future__ import annotations

import psutil
import pytest
import torch

from napari_vdip.devices import find
from napari_vdip.errors import DeviceUnavailable


def test_the_processor_has_the_memory_of_the_host():
    device = find("cpu")
    assert (device.name, device.title) == ("cpu", "processor")
    assert 0 < device.free_bytes < psutil.virtual_memory().total


def test_a_gpu_has_its_own_name_and_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index or 0}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * 2**30, 8 * 2**30))
    assert (find("auto").name, find("auto").title) == ("cuda", "card 0")
    assert (find("cuda:1").title, find("cuda:1").free_bytes) == ("card 1", 3 * 2**30)


@pytest.mark.parametrize("name", ["abacus", "cuda:99"])
def test_an_absent_device_is_told(name):
    with pytest.raises(DeviceUnavailable, match=name):
        find(name)
