"""Files that are compressed: recognised by what they hold, and refused when they are damaged."""

import bz2
import gzip
import lzma
import os
import sys
import threading

import pytest

from lmjax.data import read_lines
from lmjax.data.files import COMPRESSED, create_text, excerpt, open_text

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress}
TEXT = "\ufeffthe cat\r\n\n é\n".encode() + b"".join(b"line %d\n" % i for i in range(20_000))
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"  # as pzstd writes before each frame


@pytest.mark.parametrize("kind", PACK)
def test_what_a_file_holds_counts_and_not_its_name(kind, tmp_path):
    plain, packed = tmp_path / f"plain.{kind}", tmp_path / "packed.txt"
    plain.write_bytes(TEXT)
    packed.write_bytes(PACK[kind](TEXT))
    lines = [*read_lines(plain)]
    assert lines[:3] == ["the cat\r", "", " é"]
    assert [*read_lines(packed)] == lines


@pytest.mark.parametrize("kind", PACK)
def test_files_one_after_the_other_are_one_text(kind, tmp_path):
    half = len(TEXT) // 2
    pack = PACK[kind]
    (tmp_path / "x").write_bytes(pack(TEXT[:half]) + pack(TEXT[half:]) + pack(b""))
    with open_text(tmp_path / "x") as file:
        assert file.read() == TEXT


def test_frames_that_zstandard_skips_are_skipped(tmp_path):
    (tmp_path / "x").write_bytes(SKIPPABLE + zstd.compress(TEXT))
    with open_text(tmp_path / "x") as file:
        assert file.read() == TEXT


@pytest.mark.parametrize("kind", PACK)
def test_what_is_cut_short_or_damaged_is_refused_by_name(kind, tmp_path):
    packed = PACK[kind](TEXT)
    middle = len(packed) // 2
    for cut in (packed[:middle], packed[:-3], packed[:14]):
        (tmp_path / "x.txt").write_bytes(cut)
        with pytest.raises(ValueError, match=r"x\.txt: "):
            list(read_lines(tmp_path / "x.txt"))
    damaged = packed[:middle] + bytes(b ^ 0x55 for b in packed[middle : middle + 40])
    (tmp_path / "x.txt").write_bytes(damaged + packed[middle + 40 :])
    with pytest.raises(ValueError, match=r"x\.txt: ") as caught:
        list(read_lines(tmp_path / "x.txt"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", [b"", b"BZh9 is a word\n", b"B\n", b"P*M\n", b"(\n", b"\x1f\n"])
def test_text_that_begins_like_a_packed_file_is_text(text, tmp_path):
    (tmp_path / "x").write_bytes(text)
    with open_text(tmp_path / "x") as file:
        assert file.read() == text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[gzip.compress(TEXT)])
    writer.start()
    with open_text(tmp_path / "pipe") as file:
        assert file.read() == TEXT
    writer.join()


@pytest.mark.parametrize("ending", ["", *COMPRESSED])
def test_the_name_says_how_to_write(ending, tmp_path):
    with create_text(tmp_path / f"x.txt{ending}") as file:
        file.write(TEXT)
    with open_text(tmp_path / f"x.txt{ending}") as file:
        assert file.read() == TEXT
    assert ((tmp_path / f"x.txt{ending}").stat().st_size < len(TEXT)) == bool(ending)


def test_what_the_system_refuses_is_left_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), open_text(tmp_path / "nothing"):
        pass
    (tmp_path / "x").write_bytes(gzip.compress(TEXT))
    with pytest.raises(OSError, match="disk"), open_text(tmp_path / "x"):
        raise OSError(5, "disk")
    with pytest.raises(KeyError), open_text(tmp_path / "x"):
        raise KeyError


def test_an_excerpt_is_short_and_printable():
    assert excerpt("\\data\\") == "\\data\\"
    assert excerpt("日本語" * 10**6, 3) == "日本語..."
    assert excerpt("日本語".encode() * 10**6, 3) == "日本語..."
    assert excerpt(b"\x1b]0;\x07\xff\n").isprintable()
