"""Rotary tables against complex numbers, and the property they exist for."""

import numpy as np
import torch

from ace_model.rope import rotary_tables, rotate


def angles(position, head_width):
    """The formula of spec/ace.md section 1, in float64."""
    spatial = 2 * (head_width // 6)
    widths = (head_width - 2 * spatial, spatial, spatial)
    return np.concatenate([p * 10000.0 ** (-2 * np.arange(w // 2) / w) for p, w in zip(position, widths, strict=True)])


def test_against_complex_multiplication():
    grids, width = ((3, 5), (2, 4), (4, 1)), 72
    positions = [(f, r, c) for f, (rows, columns) in enumerate(grids) for r in range(rows) for c in range(columns)]
    x = torch.randn(1, 2, len(positions), width, generator=torch.Generator().manual_seed(0))
    turned = rotate(x, rotary_tables(grids, width)).numpy()
    pairs = x.numpy().astype(np.float64).reshape(1, 2, len(positions), width // 2, 2)
    expected = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * np.stack([angles(p, width) for p in positions]))
    assert np.abs(turned[..., 0::2] - expected.real).max() < 1e-5
    assert np.abs(turned[..., 1::2] - expected.imag).max() < 1e-5


def test_widths_of_other_heads():
    assert rotary_tables(((1, 1),), 36).shape == (2, 1, 18)
    tables = rotary_tables(((2, 1), (1, 1)), 32)  # 32 = 12 frame + 10 height + 10 width
    assert torch.equal(tables[:, 1, :6], tables[:, 0, :6]) and not torch.equal(tables[:, 1, 6:11], tables[:, 0, 6:11])
    assert not torch.equal(tables[:, 2, :6], tables[:, 0, :6]) and torch.equal(tables[:, 2, 6:], tables[:, 0, 6:])


def test_attention_sees_only_distances():
    q, k = torch.randn(2, 1, 1, 36, 72, generator=torch.Generator().manual_seed(1))
    q, k = q[:, :, :1].expand_as(q), k[:, :, :1].expand_as(k)
    tables = rotary_tables(((6, 6),), 72)
    scores = (rotate(q, tables) @ rotate(k, tables).mT)[0, 0].reshape(6, 6, 6, 6)
    assert torch.allclose(scores[2, 3, 1, 1], scores[4, 5, 3, 3], atol=1e-4)
    assert torch.allclose(scores[0, 0, 1, 2], scores[3, 2, 4, 4], atol=1e-4)
