"""Batches: what a worker makes of a block, with a maker of ours in place of ACE; the ledger; words for errors and progress."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ace_model.errors import InputError
from batch import worker
from batch.job import BatchError, Job, StopRun
from batch.ledger import Ledger
from batch.requests import SCHEMA


class Maker:
    """Draws what a request says: a number is a gray level, anything else an error."""

    maker = "the same models"

    def __init__(self):
        self.asked, self.batches = [], []

    def expect(self, requests):
        self.expected = list(requests)

    def __call__(self, request, digests):
        self.asked.append(request)
        if request == "bad":
            raise InputError("this cannot be done")
        if request == "odd":
            raise KeyError("nobody foresaw this")
        if request == "stop":
            raise StopRun("nothing can be done")
        return np.full((4, 6, 3), int(request), np.uint8)

    def likeness(self, request, digests):
        return "" if request == "alone" else "alike"

    def together(self, requests):
        self.batches.append([request for request, _ in requests])
        return [self(*each) for each in requests]

    def recover(self):
        pass


class Local:
    """A ledger in this process."""

    def __init__(self, maker=""):
        self.ledger = Ledger(maker)

    def __getattr__(self, name):
        return SimpleNamespace(remote=getattr(self.ledger, name))


@pytest.fixture
def make(monkeypatch):
    def made(ledger=None, **job):
        maker, ledger = Maker(), ledger or Local()
        monkeypatch.setattr(worker, "maker_of", lambda job: maker)
        monkeypatch.setattr(worker.Worker, "told", lambda self, what, *values: getattr(ledger, what).remote(*values))
        return worker.Worker(Job("comfyui", **job), ledger), maker, ledger.ledger
    return made


def block(*requests):
    return pa.Table.from_pylist([{"key": i, "id": f"id{i}", "row": i + 1, "name": "", "request": str(request), "digests": [],
                                  "error": f"row {i + 1}: seen before" if request == "error" else ""}
                                 for i, request in enumerate(requests)], SCHEMA)


def test_every_request_has_one_answer_in_its_place(make):
    hand, maker, ledger = make()
    answers = hand(block(10, "bad", "error", 20)).to_pylist()
    assert [each["id"] for each in answers] == ["id0", "id1", "id2", "id3"]
    levels = [each["picture"] and np.asarray(Image.open(io.BytesIO(each["picture"])))[0, 0, 0] for each in answers]
    assert levels == [10, None, None, 20] and (answers[0]["width"], answers[0]["height"]) == (6, 4)
    assert [each["error"] for each in answers] == ["", "row 2: this cannot be done", "row 3: seen before", ""]
    assert maker.expected == ["10", "bad", "20"], "what is known to fail is not read"
    assert ledger.state().done == 4 and ledger.state().errors == 2 and not ledger.tries


def test_an_error_that_nobody_foresaw_is_one_too_until_there_are_many(make):
    hand, _, _ = make()
    assert "KeyError" in hand(block("odd", 1)).to_pylist()[0]["error"]
    with pytest.raises(StopRun, match="in a row"):
        hand(block(*["odd"] * worker.IN_A_ROW))


def test_what_is_wrong_with_the_setup_ends_the_run(make):
    with pytest.raises(StopRun, match="nothing can be done"):
        make()[0](block(1, "stop"))


def test_a_request_that_ended_its_worker_too_often_is_given_up(make):
    hand, maker, ledger = make(tries=2)
    ledger.begin("id1")
    assert not hand(block(1, 2)).to_pylist()[1]["error"], "a second time"
    ledger.begin("id1")
    ledger.begin("id1")
    answers = hand(block(1, 2, 3)).to_pylist()
    assert "given up: 2 times" in answers[1]["error"] and maker.asked.count("2") == 1 and not answers[2]["error"]


def test_together_those_that_are_alike(make):
    hand, maker, _ = make(together=2)
    answers = hand(block(1, 2, 3, "error")).to_pylist()
    assert maker.batches == [["1", "2"]] and len(answers) == 4


def test_who_may_have_ended_a_worker_goes_alone(make):
    hand, maker, ledger = make(together=3)
    ledger.begin("id1")
    hand(block(1, 2, 3))
    assert not maker.batches and maker.asked == ["1", "2", "3"]


def test_of_a_batch_that_fails_each_is_tried_for_itself(make):
    hand, maker, _ = make(together=3)
    errors = [each["error"] for each in hand(block(1, "bad", 3)).to_pylist()]
    assert errors == ["", "row 2: this cannot be done", ""]


def test_other_models_than_before_end_the_run(make):
    with pytest.raises(StopRun, match="not those that made the pictures so far"):
        make(Local("other models"))


def test_a_block_that_is_made_again_counts_once(make):
    hand, _, ledger = make()
    hand(block(1, "bad"))
    hand(block(1, "bad"))
    assert (ledger.state().done, ledger.state().errors) == (2, 1)


# ---- words

def test_progress_in_words():
    from batch.ledger import State
    from batch.run import progress
    assert progress(State(done=300, errors=2, seconds=100.0), 700, 4000) == (
        "1,000 of 4,000 (25%), 3.00 pictures/s, 17 min left, 2 errors")
    assert progress(State(), 0, 10) == "0 of 10 (0%), 0 errors"


@pytest.mark.parametrize(("error", "words"), [
    (OSError(28, "No space left on device"), "is full"),
    (BatchError("say this"), "say this"),
    (RuntimeError("Traceback …\nbatch.job.StopRun: from a worker"), "from a worker"),
    (RuntimeError("something else"), "")])
def test_an_error_of_rays_in_words(error, words, tmp_path):
    from batch.cluster import in_words
    outer = RuntimeError("a task failed")
    outer.__cause__ = error
    told = in_words(outer, tmp_path)
    assert words in told if words else not told


def test_what_failed_can_be_given_again():
    from batch.run import again
    record = {"version": 1, "at": "t", "turns": []}
    assert again({"name": "sku", "request": json.dumps(record), "error": "why"}) == {
        "id": "sku", "record": record, "error": "why"}
    assert again({"name": "", "request": '{"photo": "a.png"}', "error": "why"}) == {"photo": "a.png", "error": "why"}
    assert again({"name": "", "request": "3", "error": "why"}) == {"given": 3, "error": "why"}


def test_a_machine_that_is_not_ready_is_told(tmp_path):
    from batch.cluster import wrong_with
    job = Job(str(tmp_path / "ComfyUI"))
    assert not wrong_with(job, __file__, False), "it only writes"
    assert "disk that all machines share" in wrong_with(job, str(tmp_path / "not seen"), False)[0]
    assert "is not ComfyUI" in wrong_with(job, __file__, True)[0]
