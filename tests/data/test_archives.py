import gzip
import io
import tarfile
import zipfile

import pytest

from deepchest_cli.data import archives
from deepchest_cli.data.archives import list_archive, stream_tar
from deepchest_cli.errors import DeepChestError, UnreadableRadiographError


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


ATTACKS = [
    member("/etc/evil.png"),
    member("../../evil.png"),
    member("images/../../evil.png"),
    member("link.png", tarfile.SYMTYPE, "/etc/passwd"),
    member("hard.png", tarfile.LNKTYPE, "images/good.png"),
    member("device.png", tarfile.CHRTYPE),
    member("block.png", tarfile.BLKTYPE),
    member("pipe.png", tarfile.FIFOTYPE),
]


def write_tar(path, members, mode):
    with tarfile.open(path, mode) as archive:
        for info in members:
            data = b"pixels" if info.isreg() else b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def found_in(path):
    if path.suffix == ".gz":
        read = list(stream_tar(path, lambda name: True))
        return {name: data for name, data, good in read if good}, sum(not good for *_, good in read)
    members, refused = list_archive(path)
    return {name: place.read() for name, place in members}, len(refused)


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz")])
def test_links_devices_and_ways_out_are_counted_and_never_followed(tmp_path, name, mode):
    good = [member("images/good.png"), member("readme.txt"), member("images/._good.png")]
    path = write_tar(tmp_path / name, [*good, *ATTACKS], mode)
    assert found_in(path) == ({"images/good.png": b"pixels"}, len(ATTACKS))
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_zip_file_with_links_and_ways_out(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("images/good.png", b"pixels")
        archive.writestr("../evil.png", b"pixels")
        archive.writestr("/evil.png", b"pixels")
        archive.writestr(link, "/etc/passwd")
    assert found_in(tmp_path / "a.zip") == ({"images/good.png": b"pixels"}, 3)


def test_what_is_larger_than_any_radiograph_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_FILE", 5)
    path = write_tar(tmp_path / "a.tar.gz", [member("images/bomb.png")], "w:gz")
    assert found_in(path) == ({}, 1)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("bomb.png", bytes(1000))
    assert found_in(tmp_path / "a.zip") == ({}, 1)


def test_only_what_is_wanted_is_unpacked(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", [member("a.png"), member("b.png")], "w:gz")
    read = list(stream_tar(path, lambda name: name == "b.png"))
    assert read == [("a.png", None, True), ("b.png", b"pixels", True)]


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_an_archive_that_is_cut_gives_what_came_before_and_says_so(tmp_path, share):
    path = tmp_path / "a.tar.gz"
    noise = [bytes((37 * k * k + j * j) % 251 for j in range(3000)) for k in range(40)]
    with tarfile.open(path, "w:gz") as archive:
        for number, data in enumerate(noise):
            info = tarfile.TarInfo(f"{number:02d}.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    seen = {}
    with pytest.raises(DeepChestError, match=r"a\.tar\.gz is damaged"):
        seen.update((name, data) for name, data, _ in stream_tar(path, lambda name: True))
    assert all(data == noise[int(name[:2])] for name, data in seen.items())


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_what_is_no_archive_is_said(tmp_path, name):
    (tmp_path / name).write_text("<html>not found</html>" * 100)
    with pytest.raises(DeepChestError, match=f"{name} is damaged"):
        found_in(tmp_path / name)


def test_an_encrypted_or_damaged_member_costs_that_image_only(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"first of all pixels")
        archive.writestr("b.png", b"pixels")
    data = bytearray(path.read_bytes())
    data[data.index(b"first")] ^= 1
    path.write_bytes(data)
    members = dict(list_archive(path)[0])
    assert members["b.png"].read() == b"pixels"
    with pytest.raises(UnreadableRadiographError, match="damaged in its archive"):
        members["a.png"].read()


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_damaged_header_does_not_pass_for_the_end(tmp_path, name):
    path = write_tar(tmp_path / "a.tar", [member(f"{n}.png") for n in range(9)], "w")
    data = bytearray(path.read_bytes())
    data[4 * 1024 + 10] ^= 255  # in the name of the fifth member: its checksum is wrong
    path.unlink()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(DeepChestError, match=f"{name} is damaged"):
        found_in(tmp_path / name)


@pytest.mark.parametrize("place", [30, 200, 900])
def test_a_flipped_bit_in_what_is_packed_is_damage(tmp_path, place):
    path = write_tar(tmp_path / "a.tar.gz", [member(f"{n}.png") for n in range(200)], "w:gz")
    data = bytearray(path.read_bytes())
    data[place] ^= 16
    path.write_bytes(data)
    with pytest.raises(DeepChestError, match=r"a.tar.gz is damaged"):
        found_in(path)


def test_whatever_a_strange_zip_raises_is_damage(tmp_path, monkeypatch):
    for error in (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), IndexError("x"), OverflowError()):

        def strange(path, error=error):
            raise error

        monkeypatch.setattr(archives.zipfile, "ZipFile", strange)
        with pytest.raises(DeepChestError, match="damaged"):
            list_archive(tmp_path / "a.zip")
