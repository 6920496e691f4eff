"""The bundled pictures and how they reach ComfyUI's input folder."""

import numpy as np
import pytest
from PIL import Image

from starters import pictures


@pytest.mark.parametrize("name", pictures.names())
def test_every_picture_has_a_size_that_the_model_takes(name):
    image = pictures.load(name)
    assert image.mode == "RGB" and image.width % 16 == image.height % 16 == 0 and image.width * image.height <= 1200 * 256


def test_pictures_are_installed_once_and_never_over_a_users_file(tmp_path):
    (tmp_path / "ACE cat.png").write_text("mine")
    (tmp_path / "holiday.png").write_text("mine, too")
    written = pictures.install(tmp_path)
    assert "ACE coffee.png" in written and "ACE cat, masked.png" in written and "ACE cat.png" not in written
    assert (tmp_path / "ACE cat.png").read_text() == (tmp_path / "holiday.png").read_text()[:4] == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {*written, "ACE cat.png", "holiday.png"}
    assert pictures.install(tmp_path) == []


def test_a_mask_is_the_transparent_part(tmp_path):
    pictures.install(tmp_path)
    masked, plain = (np.asarray(Image.open(tmp_path / pictures.file_of("coffee", m))) for m in (True, False))
    mask = np.asarray(Image.open(pictures.FOLDER / "coffee mask.png").convert("L"))
    assert plain.shape[-1] == 3 and np.array_equal(masked[..., :3], plain)
    assert np.array_equal(255 - masked[..., 3], mask) and 0 < (mask > 128).mean() < 1


def test_a_picture_that_there_is_not_is_named():
    with pytest.raises(FileNotFoundError, match="no bundled picture 'dog': there are cat, coffee"):
        pictures.file_of("dog")
    with pytest.raises(FileNotFoundError, match="'hat' with a mask"):
        pictures.file_of("hat", masked=True)
