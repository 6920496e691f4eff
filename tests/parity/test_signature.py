"""What tells models apart in a conversation's keys: for weights of any size, and the same after every restart."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).resolve().parents[2] / "ace_model/comfyui/signature.py"


@pytest.fixture
def described(pack):
    from ace_pack.ace_model.comfyui.signature import described
    return described


def test_weights_as_large_as_those_of_t5_xxl(described):
    """More numbers than float32 can count."""
    weight = torch.zeros(10240, 4096, dtype=torch.float8_e4m3fn)
    before = described(weight)
    weight[-1, -1] = 1
    assert described(weight) != before, "the last number counts"


def test_the_same_in_every_process():
    """Sets come in another order in every process; a LoRA holds one."""
    load = f"s = u.spec_from_file_location('signature', {str(FILE)!r}); m = u.module_from_spec(s); s.loader.exec_module(m)"
    code = f"import importlib.util as u; {load}; print(m.described([{{'a', 'b', 'c', 'd'}}, frozenset(['e', 'f', 'g'])]))"
    told = {subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True,
                           text=True, check=True).stdout for seed in ("1", "2", "3")}
    (only,) = told
    assert all(repr(letter) in only for letter in "abcdefg")
