"""Folders of a cache, while other processes use and remove them."""

from pathlib import Path

from saetui.last_used import bytes_in, longest_unused_first, mark_used


def test_two_uses_at_once_have_an_order(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(20)]
    for folder in folders:
        folder.mkdir()
    for folder in reversed(folders):
        mark_used(folder)
    assert longest_unused_first(folders) == folders[::-1]


def test_what_another_process_has_removed_is_not_listed(tmp_path: Path) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.mkdir()
    assert longest_unused_first([gone, there]) == [there]
    assert bytes_in(gone) == 0


def test_the_bytes_of_a_folder_are_those_of_all_files_below_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"x" * 1000)
    (tmp_path / "a" / "b" / "two").write_bytes(b"x" * 234)
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "nowhere")
    assert bytes_in(tmp_path) == 1234
