"""Files are written whole or not at all, and a place that cannot be written to is noticed before the work."""

import sys

import pytest

from fer_nb_utils.errors import UserError
from fer_nb_utils.files import atomic_path, check_writable


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".csv" and temporary.parent == path.parent
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text("utf-8") == "whole" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(failure, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(failure), atomic_path(path) as temporary:
        temporary.write_text("ha")
        raise failure
    assert path.read_text("utf-8") == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["table.csv", "new/folder/table.csv", "naïve/表.csv"])
def test_asking_whether_a_file_can_be_written_leaves_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_writable(name)
    check_writable(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_asking_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    check_writable(path)
    assert path.read_text("utf-8") == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["folder", "file.txt/table.csv", "file.txt/new/table.csv"])
def test_what_cannot_be_written_is_one_sentence(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(UserError, match=r"choose another place\.$|give the name of a file in it\.$") as raised:
        check_writable(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value) and "\n" not in str(raised.value)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that nobody can write to, not even root")
def test_a_place_where_nobody_may_write():
    with pytest.raises(UserError, match=r"^/proc/new/table\.csv cannot be written \(.+\); choose another place\.$"):
        check_writable("/proc/new/table.csv")
