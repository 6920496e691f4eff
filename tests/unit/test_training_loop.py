"""The loop that every trainer runs: the same numbers however often it is interrupted, nothing lost when something breaks."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.checkpoints import CheckpointError, Checkpoints, write
from training.loop import DivergedError, Loop, rate

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="signals and device files are POSIX's")


def lesson(step, weight, bias):
    """A line through noisy points that are a function of the step."""
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    loss = (x @ weight + bias - x.sum(1)).square().mean()
    yield loss, loss


def loop_in(folder, seed=0, keep=2, average=0.9, **options):
    weight = torch.nn.Parameter(torch.randn(3, generator=torch.Generator().manual_seed(seed)))
    bias = torch.nn.Parameter(torch.zeros(()))
    optimizers = [torch.optim.AdamW([weight], weight_decay=0.1), torch.optim.SGD([bias], lr=1.0)]
    loop = Loop({"weight": weight, "bias": bias}, optimizers, rate("cosine", 0.05, 5, 100),
                folder and Checkpoints(folder, keep), average, **options)
    return loop, lambda step: lesson(step, weight, bias)


def weights_of(loop):
    return [*loop.weights.values(), *loop.average.values()]


def same(loop, other):
    return all(torch.equal(a, b) for a, b in zip(weights_of(loop), weights_of(other), strict=True))


def test_sixty_steps_and_forty_are_a_hundred(tmp_path):
    whole, work = loop_in(tmp_path / "whole")
    losses = []
    whole.run(work, 100, every=7, save_every=30, after=losses.append)
    pieces, work = loop_in(tmp_path / "pieces")
    pieces.run(work, 100, every=7, save_every=30, last=60)
    again, work = loop_in(tmp_path / "pieces", seed=1)
    assert again.resume() and again.step == 60
    again.run(work, 100, every=7, save_every=30)
    assert same(again, whole) and losses[-1] < 0.1 * losses[0]
    assert again.curve[-1][0] == 100 and 60 in [step for step, _ in again.curve]


def test_parts_of_a_step_add_up(tmp_path):
    """Accumulation: the gradient of the mean over two passes is that of one pass over both."""
    def halves(loop):
        def work(step):
            x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
            for part in (x[:4], x[4:]):
                loss = (part @ loop.weights["weight"] + loop.weights["bias"] - part.sum(1)).square().mean() / 2
                yield loss, loss
        return work
    one, work = loop_in(None)
    one.run(work, 10)
    two, _ = loop_in(None)
    two.run(halves(two), 10)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights_of(one), weights_of(two), strict=True))


def test_the_average_follows_and_early_weights_count_for_little():
    loop, work = loop_in(None, average=0.9)
    seen = []
    expected = loop.weights["weight"].detach().clone()
    for step in range(30):
        loop.advance(work)
        seen.append(loop.weights["weight"].detach().clone())
        keep = min(0.9, (step + 1) / (step + 10))
        expected = keep * expected + (1 - keep) * seen[-1]
    assert torch.allclose(loop.average["weight"], expected, atol=1e-6)
    plain, _ = loop_in(None, average=0.0)
    assert plain.average is plain.weights


@pytest.mark.parametrize("kind, middle, end", [("constant", 1, 1), ("linear", 0.5, 0.01), ("cosine", 0.5, 0.001)])
def test_the_rate_warms_up_and_falls(kind, middle, end):
    at = rate(kind, 2.0, 10, 110)
    assert at(0) == pytest.approx(2 / 11) and at(4) == pytest.approx(2 * 5 / 11) and at(10) == 2
    assert at(60) == pytest.approx(2 * middle) and at(109) <= 2 * end + 1e-9


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_leaves_the_last_checkpoint(tmp_path, bad):
    loop, good = loop_in(tmp_path)

    def work(step):
        for down, reported in good(step):
            yield (down * bad, reported * bad) if step == 25 else (down, reported)
    with pytest.raises(DivergedError, match=r"step 26: .* The weights of step 20 are kept. Lower optimizer.rate"):
        loop.run(work, 100, save_every=10)
    assert all(weight.isfinite().all() for weight in weights_of(loop)) and Checkpoints(tmp_path).steps() == [10, 20]
    again, work = loop_in(tmp_path)
    assert again.resume() and again.step == 20


def test_so_many_checkpoints_are_kept(tmp_path):
    loop, work = loop_in(tmp_path, keep=3)
    loop.run(work, 50, save_every=8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000040.pt", "000048.pt", "000050.pt"]


def test_a_damaged_checkpoint_is_passed_over_and_remains_of_a_killed_run_go(tmp_path, capsys):
    loop, work = loop_in(tmp_path)
    loop.run(work, 20, save_every=10)
    path = Checkpoints(tmp_path).path(20)
    path.write_bytes(path.read_bytes()[:1000])
    (tmp_path / ".000030.pt.123.part").write_bytes(b"half")
    again, work = loop_in(tmp_path)
    assert again.resume() and again.step == 10 and "000020.pt is damaged" in capsys.readouterr().out
    assert not list(tmp_path.glob(".*"))
    again.run(work, 20)
    assert same(again, loop)
    for each in tmp_path.iterdir():
        each.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint in .* can be read: delete"):
        loop_in(tmp_path)[0].resume()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk is played by /dev/full")
def test_a_full_disk_is_said_and_costs_no_checkpoint(tmp_path, monkeypatch):
    loop, work = loop_in(tmp_path)
    loop.run(work, 100, save_every=10, last=20)
    part = tmp_path / f".000025.pt.{os.getpid()}.part"
    part.symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"000025.pt cannot be written \(.*\): free some space or lower save.keep"):
        loop.run(work, 100, last=25)
    assert Checkpoints(tmp_path).steps() == [10, 20] and loop_in(tmp_path)[0].resume()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from training.checkpoints import write
def fill(file):
    file.write(b"half of a checkpoint")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
write(Path(sys.argv[2]), fill)
"""


@posix
def test_killed_in_a_checkpoint_it_goes_on_from_the_one_before(tmp_path):
    loop, work = loop_in(tmp_path)
    loop.run(work, 100, last=20)
    done = subprocess.run([sys.executable, "-c", KILLED, str(ROOT), str(tmp_path / "000030.pt")], check=False)
    assert done.returncode == -signal.SIGKILL and list(tmp_path.glob(".*.part"))
    again, _ = loop_in(tmp_path)
    assert again.resume() and again.step == 20 and not list(tmp_path.glob(".*.part"))


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_what_is_complete(tmp_path, number):
    loop, good = loop_in(tmp_path)
    exported = []

    def work(step):
        for part in good(step):
            yield part
            if step == 12:
                os.kill(os.getpid(), number)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        loop.run(work, 100, save_every=10, export=lambda: exported.append(loop.step))
    assert signal.getsignal(number) is before and exported == [10, 12] and Checkpoints(tmp_path).steps() == [10, 12]
    whole, plain = loop_in(None)
    whole.run(plain, 40)
    again, plain = loop_in(tmp_path)
    assert again.resume() and again.step == 12
    again.run(plain, 40)
    assert same(again, whole)


def test_another_run_s_checkpoint_is_refused_by_name(tmp_path):
    loop, work = loop_in(tmp_path, identity={"lora.rank": 16})
    loop.run(work, 5)
    with pytest.raises(CheckpointError, match="lora.rank is 8, but .* was trained with 16: set it back, or give another"):
        loop_in(tmp_path, identity={"lora.rank": 8})[0].resume()
    other, _ = loop_in(tmp_path)
    other.weights["more"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"holds other weights \(more\)"):
        other.resume()


def test_what_is_written_is_there_whole_or_not_at_all(tmp_path):
    write(tmp_path / "a" / "file", lambda file: file.write(b"old"))

    def breaks(file):
        file.write(b"new")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a" / "file", breaks)
    assert [path.read_bytes() for path in (tmp_path / "a").iterdir()] == [b"old"]
