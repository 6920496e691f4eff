"""Edited pictures without any download: `python dev.py demo`.

Starts a real ComfyUI headless, runs every ACE workflow of this pack with the bundled demo model on pictures of its toy
world, more cases of every task, and maps of photographs it never saw; writes demo_output/index.html.
With --image and --instruction it answers for a picture of yours instead.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from ace_model.comfyui.graph import node
from tools.comfy_server import ComfyServer, PromptError, require_free
from tools.files import replace_file

from ..requests import InputFiles, Sampling, demo_loaders, request, to_tensor
from ..score import REPORT, cases
from ..world.judge import judge
from ..world.scenes import Picture, photographs, render, to_image
from ..world.tasks import TASKS, Sample, Turn
from . import own_picture, toys
from .html import Card, Page, Step

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / ".dev" / "demo"  # the demo ComfyUI's own models, input and output folders
PAGE_SEED, PER_TASK = 2024, 4
PHOTO_MAPS = {"edge map": "edge", "grayscale version": "grayscale", "depth map": "depth", "mosaic version": "mosaic"}
PUBLISHED = "https://huggingface.co/scepter-studio/ACE-0.6B-512px"
INTRODUCTION = f"""<div class="note"><p><strong>This is a demonstration model of a toy world.</strong> It has a hundredth of the
published model's size, works at 128 × 128 pixels (photographs: 256 × 256) and knows coloured shapes, cartoon faces, stick
people and capital letters, nothing else. It shows what ACE does, in this pack's own nodes, and that your installation works;
it says nothing about how well the published model does it. Two processor cores trained it in nine hours: some
answers are wrong, and marked as such; of photographs it sees the strong outlines, not fine lines. The score is at the
end.</p>
<p>For real pictures get <a href="{PUBLISHED}">ACE-0.6B-512px</a> and open any of this
pack's templates in ComfyUI: the note in it names every file, its link and its folder. To play with the demo model in the
browser: <code>python dev.py serve --demo</code>.</p></div>"""

OF_WORKFLOWS = """<p>Every ACE workflow of this pack, its own graph in a real ComfyUI with toy pictures in it. Refine with FLUX
and the ACE++ workflows need FLUX and are not run.</p>"""
OF_PHOTOS = """<p>Maps that it learned on toy scenes and other photographs; these five were held out. 256 pixels and a tiny
autoencoder: expect the gist, of edges the strong ones. Depth is a guess from height and colour, bright is near: what is low,
dark or warm; what is light or blue is far.</p>"""


def main() -> int:
    args = parser().parse_args()
    try:
        check(args)
        return demo(args)
    except KeyboardInterrupt:  # the page is written last: nothing is half there
        return 130
    except (own_picture.PictureError, PromptError, Refused) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not error.filename or not Path(error.filename).is_relative_to(args.output):
            raise
        print(f"demo: {unwritable(error.filename, error)}", file=sys.stderr)
        return 2


def unwritable(path, error: OSError) -> str:
    return f"{path} cannot be written ({error.strerror}): choose another folder with --output."


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="dev.py demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--image", type=Path, help="a picture of yours, with --instruction")
    p.add_argument("--instruction", help='what to do with it, for instance "edge map of {image}"')
    p.add_argument("--output", type=Path, default=ROOT / "demo_output", help="folder for the page (default demo_output)")
    p.add_argument("--port", type=int, help="port of the demo's ComfyUI (default: a free one)")
    p.add_argument("--seed", type=int, default=0, help="of the noise")
    return p


class Refused(ValueError):
    """An argument that cannot be, and the way out."""


def check(args: argparse.Namespace) -> None:
    """Everything that can be wrong is found before anything is started or written."""
    if bool(args.image) != bool(args.instruction):
        given, missing = ("--image", "--instruction") if args.image else ("--instruction", "--image")
        raise Refused(f'{given} needs {missing} too: --image PHOTO --instruction "edge map of {{image}}".')
    if args.image:
        own_picture.load(args.image)
    if args.port is not None:
        try:
            require_free(args.port)
        except ValueError as error:
            raise Refused(str(error)) from None
    args.output = args.output.absolute()
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=args.output):
            pass
    except OSError as error:
        raise Refused(unwritable(args.output, error)) from None


def demo(args: argparse.Namespace) -> int:
    began = time.monotonic()
    sampling = Sampling(seed=args.seed)
    say("Starting ComfyUI …")
    with ComfyServer(BASE, port=args.port) as server:
        files = InputFiles(BASE / "input")
        if args.image:
            path = answer_photo(server, files, args, sampling)
        else:
            page = Page("What ACE does", INTRODUCTION)
            page.sections = [
                ("The workflows", OF_WORKFLOWS, run_workflows(server, files, sampling)),
                ("Photographs it never saw", OF_PHOTOS, run_photos(server, files, sampling)),
                *((f"More: {task}", "", run_task(server, files, sampling, task)) for task in TASKS)]
            page.score = score_rows()
            path = page.write(args.output)
            shown = [step.right for _, _, cards in page.sections for card in cards for step in card.steps]
            say(f"{sum(r is True for r in shown)} of {sum(r is not None for r in shown)} judged answers are right")
    say(f"{path.as_uri()}   ({time.monotonic() - began:.0f} s)")
    return 0


def say(text: str) -> None:
    print(text, flush=True)


def run_workflows(server: ComfyServer, files: InputFiles, sampling: Sampling) -> list[Card]:
    cards, names = [], toys.titles()
    for number, title in enumerate(names, 1):
        say(f"[{number}/{len(names)}] {title}")
        toy = toys.toy(title)
        graph, saved = toys.toy_graph(title, toy, files, sampling)
        began = time.monotonic()
        outputs = server.run(graph)
        answers = [server.image(outputs[key]["images"][0]).convert("RGB") for key in saved]
        cards.append(Card(title, workflow_steps(toy, answers), time.monotonic() - began))
    return cards


def workflow_steps(toy: toys.Toy, answers: list[Image.Image]) -> list[Step]:
    steps, inputs = [], [toys.with_mask(*given).convert("RGBA") for given in toy.pictures]
    for sample, answer in zip(toy.steps, answers, strict=True):
        judged = answer.crop(toy.window) if toy.window else answer
        right, _ = judge(sample, to_tensor(judged))
        steps.append(Step(sample.turns[-1].instruction, inputs, answer, to_image(render([sample.target])[0]), right))
        inputs = [answer] if toy.conversation else inputs
    return steps


def run_photos(server: ComfyServer, files: InputFiles, sampling: Sampling) -> list[Card]:
    cards = []
    for number in range(1, len(photographs.load("held_out")) + 1):
        say(f"Photograph {number}")
        source = Picture(photo=-number, crop=(0.5, 0.5, 0.0))
        turns = {view: (Turn(f"{name} of {{image}}", (source,)),) for name, view in PHOTO_MAPS.items()}
        began = time.monotonic()
        answers = answer(server, files, turns, sampling)
        exact = dict(zip(PHOTO_MAPS.values(), render([Picture(photo=-number, crop=source.crop, view=view)
                                                      for view in PHOTO_MAPS.values()]), strict=True))
        shown = to_image(render([source])[0])
        cards.append(Card(f"Photograph {number}", [
            Step(turns[view][-1].instruction, [shown], picture, to_image(exact[view]),
                 exact_name="the guess it was taught" if view == "depth" else "exact answer")
            for view, picture in answers.items()],
            time.monotonic() - began))
    return cards


def run_task(server: ComfyServer, files: InputFiles, sampling: Sampling, task: str) -> list[Card]:
    say(f"More of {task}")
    samples = {f"{i}": sample for i, sample in enumerate(cases(PAGE_SEED, task, PER_TASK))}
    began = time.monotonic()
    answers = answer(server, files, {key: sample.turns for key, sample in samples.items()}, sampling)
    each = (time.monotonic() - began) / len(samples)
    return [Card(sample.subtask, [*earlier(sample), Step(
        sample.turns[-1].instruction, [toys.with_mask(p, sample.turns[-1].region(i)) for i, p in
                                       enumerate(sample.turns[-1].pictures)], answers[key],
        to_image(render([sample.target])[0]), judge(sample, to_tensor(answers[key]))[0])], each)
        for key, sample in samples.items()]


def earlier(sample: Sample) -> list[Step]:
    """The turns that went before, each with what came of it: the next turn's picture."""
    following = [turn.pictures[-1] for turn in sample.turns[1:]]
    return [Step(f"before: {turn.instruction}", [toys.with_mask(p, None) for p in turn.pictures],
                 toys.with_mask(after, None)) for turn, after in zip(sample.turns[:-1], following, strict=True)]


def answer(server: ComfyServer, files: InputFiles, conversations: dict[str, tuple[Turn, ...]], sampling: Sampling
           ) -> dict[str, Image.Image]:
    """All conversations in one graph → {key: the answer to its last turn}."""
    files.add(conversations.values())
    graph = demo_loaders()
    for key, turns in conversations.items():
        graph |= request(key, turns, files, sampling)
    outputs = server.run(graph)
    return {key: server.image(outputs[key]["images"][0]).convert("RGB") for key in conversations}


def answer_photo(server: ComfyServer, files: InputFiles, args: argparse.Namespace, sampling: Sampling) -> Path:
    """One answer about a picture of the user's: answer.png and a page that shows both."""
    given = own_picture.load(args.image)
    name = files.save(given)
    graph = demo_loaders() | request("photo", (Turn(args.instruction),), files, sampling)
    graph["given"] = node("LoadImage", image=name)
    graph["photo unit 0"]["inputs"] |= {"images.image": ["given", 0], "name_image": True}
    graph["photo tokens"]["inputs"] |= {"width": 0, "height": 0}  # as large as the picture
    began = time.monotonic()
    outputs = server.run(graph)
    result = server.image(outputs["photo"]["images"][0]).convert("RGB")
    seconds = time.monotonic() - began
    replace_file(args.output / "answer.png", lambda path: result.save(path, "PNG"))
    page = Page("Your picture", INTRODUCTION)
    page.sections = [("Answer", "<p>The middle square of your picture at 256 × 256 pixels, as the demo model sees it.</p>",
                      [Card(args.image.name, [Step(args.instruction, [given], result)], seconds)])]
    say(f"{args.output / 'answer.png'}")
    return page.write(args.output)


def score_rows() -> list[tuple[str, float, int]]:
    """The published score of the shipped weights; empty if they were never scored."""
    if not REPORT.exists():
        return []
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    return [(name, task["success"], task["cases"]) for name, task in report["tasks"].items()]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # however it ends, ComfyUI ends with it
    sys.exit(main())
