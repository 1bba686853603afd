"""The CSV file: what is written is read again, and a break does no harm."""

from __future__ import annotations

import csv
import dataclasses

import pytest

from napari_vdip.benchmark.table import Row, Table
from napari_vdip.errors import InvalidInput

ROW = Row("im1", "fast", "sparse", 0, None, "17", "gaussian", "cpu", "1.0", "ab12", "17x17", 180, psnr=31.25)
FAILED = dataclasses.replace(ROW, seed=1, iterations=5, psnr=None, error='no, "never"\nat all')


def test_rows_come_back(tmp_path):
    table = Table(tmp_path / "results.csv", Row)
    assert table.records == []
    table.append(ROW)
    table.append(FAILED)
    again = Table(tmp_path / "results.csv", Row)
    assert again.records == table.records == [ROW, FAILED]
    with (tmp_path / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert (lines[0]["psnr"], lines[0]["iterations"], lines[0]["seconds"]) == ("31.25", "", "")


@pytest.mark.parametrize("lost", [1, 5, 60])
def test_a_torn_last_line_is_dropped(tmp_path, lost):
    path = tmp_path / "results.csv"
    table = Table(path, Row)
    table.append(ROW)
    table.append(dataclasses.replace(ROW, seed=1))
    path.write_bytes(path.read_bytes()[:-lost])
    again = Table(path, Row)
    assert again.records == [ROW]
    again.append(dataclasses.replace(ROW, seed=2))
    assert [row.seed for row in Table(path, Row).records] == [0, 2]


def test_a_torn_head_is_written_again(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("case,prese")
    table = Table(path, Row)
    table.append(ROW)
    assert Table(path, Row).records == [ROW]


def test_the_key_is_what_makes_a_run(tmp_path):
    assert dataclasses.replace(ROW, psnr=1.0, date="today", threads=4).key == ROW.key
    for name in ("case", "preset", "method", "kernel_size", "device", "version", "constants"):
        assert dataclasses.replace(ROW, **{name: "x"}).key != ROW.key
    assert dataclasses.replace(ROW, iterations=5).key != ROW.key


def test_files_of_another_version_and_damaged_lines_are_told(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("case,preset\nim1,fast\n")
    with pytest.raises(InvalidInput, match=r"results\.csv has other columns .* another --output"):
        Table(path, Row)
    path.unlink()
    Table(path, Row).append(ROW)
    path.write_text(path.read_text().replace("sparse,0,", "sparse,zero,"))
    with pytest.raises(InvalidInput, match=r"damaged line, 'im1,fast,sparse,zero"):
        Table(path, Row)
