"""Edit pictures without downloading anything: `python dev.py demo`.

Starts a real ComfyUI in the background and runs every ACE workflow of this pack with the bundled demo model, on pictures
of its toy world; then more cases of every task, and maps of photographs it never saw. Writes demo_output/index.html.
With --image and --instruction it edits a picture of yours instead.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

from PIL import Image

from ace_model.comfyui.graph import node
from tools.comfy_server import ComfyServer, PromptError, require_free
from tools.disk import refusal, require_writable
from tools.files import replace_file
from tools.processes import lock

from ..requests import InputFiles, Sampling, demo_loaders, request, to_tensor
from ..score import REPORT, cases, photo_cases
from ..world.judge import judge
from ..world.scenes import image_of
from ..world.tasks import TASKS, Sample, Turn
from . import own_picture, toys
from .html import Card, Page, Step

ROOT = Path(__file__).resolve().parents[2]
DEV = ROOT / ".dev"
OTHER_OUTPUT = "choose another folder with --output"
PAGE_SEED, PER_TASK = 2024, 4
PHOTO_VIEWS = ("edge", "grayscale", "depth", "mosaic")
PUBLISHED = "https://huggingface.co/scepter-studio/ACE-0.6B-512px"
INTRODUCTION = f"""<div class="note"><p><strong>This is a demonstration model of a toy world.</strong> It is a hundredth the
size of the published model, works at 128 × 128 pixels (photographs: 256 × 256) and knows colored shapes, cartoon faces, stick
figures and capital letters, nothing else. The page shows what ACE does, run by this pack's own nodes, and that your
installation works. It says nothing about how good the published model is. Two processor cores trained the demo model in 14
hours: some answers are wrong, and in photographs it sees strong outlines but no fine lines.</p>
<p>For real pictures, get <a href="{PUBLISHED}">ACE-0.6B-512px</a> and open any of this pack's templates in ComfyUI. The note
in it lists every file you need, with its link and folder. To play with the demo model in the browser, run
<code>python dev.py serve --demo</code>.</p></div>"""

OF_WORKFLOWS = """<p>Every ACE workflow of this pack: its own graph, run by a real ComfyUI with toy pictures in it. Each answer
is checked against the exact one; the score over many more cases is at the end of the page. Left
out are Teach a subject, which learns for minutes, and those that need more than ACE: Mask from words, Edit at full size, Refine
with FLUX and ACE++.</p>"""
OF_PHOTOS = """<p>The model learned these maps from toy scenes and other photographs; it was not trained on these five. At 256
pixels and with a tiny autoencoder, expect the gist: only the strong edges, for example. Depth is a guess from height and color,
and bright means near: what is low, dark or warm counts as near, what is light or blue as far. The guess itself was chosen with
these five photographs in view.</p>"""


def main() -> int:
    args = parser().parse_args()
    try:
        check(args)
        return demo(args)
    except KeyboardInterrupt:  # the page is written last: nothing is left half done
        return 130
    except (own_picture.PictureError, Refused) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (PromptError, Unwritable, TimeoutError) as error:
        print(f"demo: {error}", file=sys.stderr)
    except OSError as error:
        print(f"demo: {refusal(error, DEV, f'make {DEV} a folder that you may write to')}", file=sys.stderr)
    return 1


class Unwritable(Exception):
    """--output cannot take the page: why, and the way out."""


@contextlib.contextmanager
def writing(folder: Path):
    """The page is written by one demo at a time: a second one for the same folder waits, and replaces the whole page."""
    with lock(DEV / "demo-page.lock"):
        try:
            yield
        except OSError as error:
            raise Unwritable(refusal(error, folder, OTHER_OUTPUT)) from None


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="dev.py demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--image", type=given_path, help="your own picture; needs --instruction")
    p.add_argument("--instruction", type=given_words, help='what to do with it, for example "edge map of {image}"')
    p.add_argument("--output", type=given_path, default=ROOT / "demo_output", help="folder for the page (default demo_output)")
    p.add_argument("--port", type=int, help="port of the demo's ComfyUI (default: a free one)")
    p.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
    return p


def given_path(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; give a path, or leave it out")
    return Path(text)


def given_words(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(f'{text!r} asks for nothing; say what to do, for example "edge map of {{image}}"')
    if legible(text) != text:
        raise argparse.ArgumentTypeError(f"{legible(text)!r} is not UTF-8; set your terminal to UTF-8")
    return text


def legible(text: str) -> str:
    """Names of files need not be UTF-8; what is shown must be."""
    return os.fsencode(text).decode("utf-8", "replace")


class Refused(ValueError):
    """What is wrong with an argument, and the way out."""


def check(args: argparse.Namespace) -> None:
    """Find everything that can be wrong before anything is started or written."""
    if (args.image is None) != (args.instruction is None):
        given, missing = ("--image", "--instruction") if args.image else ("--instruction", "--image")
        raise Refused(f'{given} needs {missing} too: --image PICTURE --instruction "edge map of {{image}}".')
    if args.image:
        own_picture.load(args.image)
    if args.port is not None:
        try:
            require_free(args.port)
        except ValueError as error:
            raise Refused(str(error)) from None
    args.output = args.output.absolute()
    try:
        require_writable(args.output)
    except OSError as error:
        raise Refused(refusal(error, args.output, OTHER_OUTPUT)) from None


def demo(args: argparse.Namespace) -> int:
    began = time.monotonic()
    sampling = Sampling(seed=args.seed)
    say("Starting ComfyUI …")
    with own_folder() as folder, ComfyServer(folder, port=args.port) as server:
        files = InputFiles(folder / "input")
        if args.image:
            path = answer_own_picture(server, files, args, sampling)
        else:
            page = Page("What ACE does", INTRODUCTION)
            page.sections = [
                ("The workflows", OF_WORKFLOWS, run_workflows(server, files, sampling)),
                ("Photographs it never saw", OF_PHOTOS, run_photos(server, files, sampling)),
                *((f"More: {task}", "", run_task(server, files, sampling, task)) for task in TASKS)]
            page.score = score_rows()
            with writing(args.output):
                path = page.write(args.output)
            shown = [step.right for _, _, cards in page.sections for card in cards for step in card.steps]
            say(f"{sum(r is True for r in shown)} of {sum(r is not None for r in shown)} checked answers are right")
    say(f"{path.as_uri()}   ({time.monotonic() - began:.0f} s)")
    return 0


@contextlib.contextmanager
def own_folder():
    """Models, input and output of this demo's ComfyUI: the first of .dev/demo, demo-2, … that no other demo is using.

    In one that is used, ComfyUI would empty temp/ as it starts, and the other demo would lose its answers.
    """
    for number in itertools.count(1):
        folder = DEV / ("demo" if number == 1 else f"demo-{number}")
        try:
            with lock(folder / "lock", Taken()):
                yield folder
                return
        except Taken:
            continue


class Taken(Exception):
    """Another demo is using the folder."""


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
        steps.append(judged(sample, inputs, answer, toy.window))
        inputs = [answer] if toy.conversation else inputs
    return steps


def judged(sample: Sample, inputs: list[Image.Image], answer: Image.Image, window: tuple | None = None) -> Step:
    """A step with the judge's word; of a larger answer, on a window of it."""
    right, _ = judge(sample, to_tensor(answer.crop(window) if window else answer))
    return Step(sample.turns[-1].instruction, inputs, answer, image_of(sample.target), right)


def run_photos(server: ComfyServer, files: InputFiles, sampling: Sampling) -> list[Card]:
    cards, samples = [], [sample for sample in photo_cases() if sample.target.view in PHOTO_VIEWS]
    for number, source in enumerate(dict.fromkeys(sample.pictures[0] for sample in samples), 1):
        say(f"Photograph {number}")
        own = {sample.target.view: sample for sample in samples if sample.pictures[0] == source}
        began = time.monotonic()
        answers = answer(server, files, {view: sample.turns for view, sample in own.items()}, sampling)
        seconds = time.monotonic() - began
        cards.append(Card(f"Photograph {number}", [
            Step(own[view].turns[-1].instruction, [image_of(source)], picture, image_of(own[view].target),
                 exact_name="the guess it was taught" if view == "depth" else "exact answer")
            for view, picture in answers.items()], seconds))
    return cards


def run_task(server: ComfyServer, files: InputFiles, sampling: Sampling, task: str) -> list[Card]:
    say(f"More: {task}")
    samples = {str(i): sample for i, sample in enumerate(cases(PAGE_SEED, task, PER_TASK))}
    began = time.monotonic()
    answers = answer(server, files, {key: sample.turns for key, sample in samples.items()}, sampling)
    each = (time.monotonic() - began) / len(samples)
    return [Card(sample.subtask, [*earlier(sample), judged(sample, shown(sample.turns[-1]), answers[key])], each)
            for key, sample in samples.items()]


def shown(turn: Turn) -> list[Image.Image]:
    return [toys.with_mask(picture, turn.region(i)) for i, picture in enumerate(turn.pictures)]


def earlier(sample: Sample) -> list[Step]:
    """The turns before, each with its answer: the next turn's picture."""
    return [Step(f"before: {turn.instruction}", [image_of(p) for p in turn.pictures], image_of(after.pictures[-1]))
            for turn, after in itertools.pairwise(sample.turns)]


def answer(server: ComfyServer, files: InputFiles, conversations: dict[str, tuple[Turn, ...]], sampling: Sampling
           ) -> dict[str, Image.Image]:
    """All conversations in one graph → {key: the answer to its last turn}."""
    files.add(conversations.values())
    graph = demo_loaders()
    for key, turns in conversations.items():
        graph |= request(key, turns, files, sampling)
    outputs = server.run(graph)
    return {key: server.image(outputs[key]["images"][0]).convert("RGB") for key in conversations}


def answer_own_picture(server: ComfyServer, files: InputFiles, args: argparse.Namespace, sampling: Sampling) -> Path:
    """One answer about the user's picture: answer.png, and a page that shows both."""
    given = own_picture.load(args.image)
    graph = demo_loaders() | request("own", (Turn(args.instruction),), files, sampling)
    graph["given"] = node("LoadImage", image=files.save(given))
    graph["own unit 0"]["inputs"] |= {"image": ["given", 0], "name_image": True}
    graph["own tokens"]["inputs"] |= {"width": 0, "height": 0}  # as large as the picture
    began = time.monotonic()
    outputs = server.run(graph)
    result = server.image(outputs["own"]["images"][0]).convert("RGB")
    seconds = time.monotonic() - began
    page = Page("Your picture", INTRODUCTION)
    page.sections = [("Answer", "<p>The model sees the middle square of your picture, at 256 × 256 pixels.</p>",
                      [Card(legible(args.image.name), [Step(args.instruction, [given], result)], seconds)])]
    with writing(args.output):
        replace_file(args.output / "answer.png", lambda path: result.save(path, "PNG"))
        written = page.write(args.output)
    say(str(args.output / "answer.png"))
    return written


def score_rows() -> list[tuple[str, float, int]]:
    """The published score of the shipped weights."""
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    return [(name, task["success"], task["cases"]) for name, task in report["tasks"].items()]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # however this ends, ComfyUI ends with it
    sys.exit(main())
