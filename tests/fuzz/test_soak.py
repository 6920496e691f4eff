"""The soak's short form: every kind of change once, on the first request of a seed that it says something about."""

import os
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import soak as s
from tests.fuzz.changes import KINDS
from tests.fuzz.requests import request
from tools.comfy_server import ComfyServer

SEED = 1


@pytest.fixture(scope="module")
def soak(tmp_path_factory, comfy):
    base = tmp_path_factory.mktemp("soak")
    s.prepare(base)
    with ComfyServer(base) as server:
        yield s.Soak(server, Path(os.environ["COMFYUI_PATH"]))


@pytest.fixture(scope="module")
def asked(soak):
    """asked(number) → (request, its latent), found equal to the direct call; each is run once."""
    known = {}

    def asked(number):
        if number not in known:
            one = request(Random(f"{SEED}/{number}"))
            case, latent = soak.request(one)
            assert case.outcome == s.RIGHT, (case, one)
            known[number] = one, latent
        return known[number]
    return asked


@pytest.mark.parametrize("number", range(12))
def test_requests_equal_the_direct_call(asked, number):
    asked(number)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_matters_or_is_refused(soak, asked, kind):
    for number in range(60):
        rng = Random(f"{SEED}/{number}/{kind}")
        changed = KINDS[kind][1](rng, request(Random(f"{SEED}/{number}")))
        if changed is not None:
            case = soak.change(kind, changed, asked(number)[1])
            assert case.outcome not in s.BAD, (case, changed)
            return
    pytest.fail(f"no request for {kind}")
