"""Room around a picture."""

import pytest
import torch

from ace_model.images import ImageError, fit
from ace_model.outpaint import add_room


def picture(height, width):
    return torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(0))


def test_keeps_the_picture_and_marks_the_room():
    image = picture(128, 160)
    padded, mask = add_room(image, 0.25, 0.25, 0.25, 0.25, token_budget=1024, shrink=True)
    assert padded.shape == (1, 192, 240, 3) and mask.shape == (1, 192, 240)
    rows, columns = torch.where(mask[0] == 0)
    inside = padded[:, rows.min():rows.max() + 1, columns.min():columns.max() + 1]
    assert torch.equal(inside, image)
    assert padded[mask == 1].abs().max() == 0 and (mask == 0).sum() == 128 * 160


def test_sizes_are_whole_tokens_within_the_budget():
    random = torch.Generator().manual_seed(1)
    for _ in range(300):
        height, width = (int(v) for v in torch.randint(640, 1500, (2,), generator=random))
        room = [0.3 * float(v) for v in torch.rand(4, generator=random)]
        padded, mask = add_room(torch.zeros(1, height, width, 1), *room, token_budget=1024, shrink=True)
        assert padded.shape[1] % 16 == 0 and padded.shape[2] % 16 == 0
        assert fit(padded.shape[1], padded.shape[2], 1024) == ((padded.shape[1], padded.shape[2]),) * 2
        assert 0 < mask.mean() < 1


def test_on_one_side_adds_only_there():
    padded, mask = add_room(picture(100, 96), 0, 0.3, 0, 0, 1024, True)
    assert padded.shape[1:3] == (144, 96)
    assert mask[0, :44].all() and not mask[0, 44:].any()


@pytest.mark.parametrize("arguments, message", [
    ((0, 0, 0, 0, 1024, True), "nothing to outpaint"),
    ((-0.5, 0, 0, 0, 1024, True), "left is -0.5"),
    ((0.5, 0.5, 0.5, 0.5, 64, False), "but the token budget is 64"),
    ((0, 0, 4, 4, 16, True), "would shrink to"),
    ((4, 0, 4, 0, 1024, True), "shapes up to 4:1"),
])
def test_errors(arguments, message):
    with pytest.raises(ImageError, match=message):
        add_room(picture(160, 160), *arguments)
