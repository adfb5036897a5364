import json
import zipfile

import numpy as np
import pytest

from bayespot.files import load_arrays, save_arrays, write_atomically, write_json, write_text


def test_the_old_file_stays_when_the_writer_raises(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(partial):
        partial.write_text("half of the n")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_atomically(path, fail)
    assert path.read_text() == "old"


def test_no_file_appears_when_the_first_writer_raises(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(ValueError, match="allow_pickle"):
        save_arrays(path, [np.array([None])], {})
    assert not path.exists()


def test_writing_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("first, and longer", "Å → µ"):
        write_text(path, text)
    assert path.read_bytes() == "Å → µ".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_partial_file_of_a_killed_run_is_no_obstacle(tmp_path):
    path = tmp_path / "a.npz"
    (tmp_path / "a.npz.part").write_bytes(b"rubbish " * 1000)
    save_arrays(path, [np.arange(3)], {"step": 1})
    arrays, header = load_arrays(path)
    np.testing.assert_array_equal(arrays[0], np.arange(3))
    assert header == {"step": 1}


def test_the_name_appears_only_after_the_writer_is_done(tmp_path):
    path = tmp_path / "a.txt"
    seen = []

    def write(partial):
        partial.write_text("all")
        seen.append((path.exists(), partial.parent == path.parent))

    write_atomically(path, write)
    assert seen == [(False, True)]
    assert path.read_text() == "all"


def test_arrays_come_back_bit_for_bit_and_in_order(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(i, 2)).astype(np.float32) for i in range(12)]
    arrays += [np.array(3), np.array([np.nan, np.inf, -0.0]), np.array([True, False])]
    arrays += [np.arange(4, dtype=np.uint32), np.zeros((0, 3))]
    header = {"fingerprint": "ü", "step": 7, "nested": {"a": [1, 2.5, None]}}
    save_arrays(tmp_path / "a.npz", arrays, header)
    loaded, found = load_arrays(tmp_path / "a.npz")
    assert found == header
    assert len(loaded) == len(arrays)
    for a, b in zip(arrays, loaded, strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def test_archives_hold_no_pickles(tmp_path):
    save_arrays(tmp_path / "a.npz", [np.arange(3)], {"step": 1})
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        assert sorted(file.namelist()) == ["array_0.npy", "header.npy"]
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert json.loads(str(file["header"])) == {"step": 1}


def test_json_of_what_is_not_finite_is_null(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": [1.5, float("nan")], "b": {"c": (np.float64("inf"), "NaN")}, "d": None})

    def refuse(constant):
        raise AssertionError(constant)

    made = json.loads(path.read_text(), parse_constant=refuse)
    assert made == {"a": [1.5, None], "b": {"c": [None, "NaN"]}, "d": None}
    assert path.read_text().endswith("}\n")
