"""The C library's heap during a fit: pages are asked for once, and given back at the end."""

from __future__ import annotations

import platform
import threading
from contextlib import ExitStack

import numpy as np
import psutil
import pytest
import torch

from napari_vdip import Options, heap, stack

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

MB = 1 << 20
SIZE = 40 * MB  # larger than any block that glibc would keep on its own


def faults_of(action):
    """Pages that the system had to bring for an action."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    action()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def rounds():
    for _ in range(10):
        torch.ones(SIZE // 4)  # numpy would ask for huge pages


def resident():
    return psutil.Process().memory_info().rss


def test_what_is_freed_is_taken_again():
    pages = SIZE // 4096
    assert faults_of(rounds) > 0.9 * pages
    with heap.kept():
        rounds()
        assert faults_of(rounds) < pages


def test_the_last_to_leave_gives_the_memory_back():
    before = resident()
    with ExitStack() as outer:
        outer.enter_context(heap.kept())
        with heap.kept():
            rounds()
        assert resident() > before + SIZE // 2  # the outer one goes on
        assert faults_of(rounds) < SIZE // 4096
    assert resident() < before + SIZE // 4
    assert faults_of(rounds) > 0.9 * SIZE / 4096


def test_it_is_left_when_what_is_within_fails():
    with pytest.raises(ZeroDivisionError), heap.kept():
        rounds()
        raise ZeroDivisionError
    assert faults_of(rounds) > 0.9 * SIZE / 4096


def test_many_threads_at_once_leave_it_as_it_was():
    def use():
        for _ in range(20):
            with heap.kept():
                torch.ones(1000)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults_of(rounds) > 0.9 * SIZE / 4096


def test_a_fit_uses_it_and_leaves_it():
    seen = []
    image = np.random.default_rng(0).random((40, 48), dtype=np.float32)
    options = Options(kernel_size=5, preset="fast", iterations=5, threads=1)
    for _ in stack.fit(image, options):
        seen.append(faults_of(rounds))
    assert min(seen) < SIZE // 4096
    assert faults_of(rounds) > 0.9 * SIZE / 4096
