"""Score the demo model per task on unseen scenes: `python -m demo.score --seed 12345 --cases 200`.

Controls take away something that the answer depends on (the history, the instruction, the names of the pictures) or change
what it must not depend on (the order of the pictures), and ask again. With --ceiling the exact answers pass through the
autoencoder instead: no model can score higher.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from ace_model.diffusion import ddim, guide, lcm
from ace_model.reuse import ContextReuse
from tools.files import replace_file
from training.network import Batch

from .requests import Sampling
from .trainer import lora, train_autoencoder
from .trainer import model as tiny
from .trainer.text import Tokenizer
from .world.judge import judge
from .world.scenes import Picture, photographs, render
from .world.tasks import MULTI_TURN, TASKS, Sample, Turn, analysis, chains, generate, names
from .world.tasks.base import ANALYSIS
from .world.tasks.batch import Frames, frames_of

REPORT = Path(__file__).parent / "weights" / "score.json"  # of the shipped weights
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- score of the demo model -->", "<!-- end of score -->"
PHOTOS = "held-out photographs"
HIDDEN = 100  # cases
REPORTED = "seed", "steps", "guidance", "rescale", "sampler", "lora", "bf16", "reuse", "ceiling"


def cases(seed: int, task: str, count: int) -> list[Sample]:
    """Samples that training never saw (other seeds), all from scenes."""
    rng, out = Random(f"score {seed} {task}"), []
    while len(out) < count:
        sample = generate(rng, task)
        if all(p.photo is None for p in (sample.target, *sample.pictures)):
            out.append(sample)
    return out


@dataclass(frozen=True)
class Control:
    """One way to ask again.

    ask: the sample as it is asked and judged then, None if the control says nothing about it · share: of a task's cases, at
    most · one_name: all pictures have the same name for the network · most, least, within: what the share of right answers
    must be to pass, the last in points of what it is as asked.
    """

    ask: Callable[[Sample], Sample | None]
    share: float = 1.0
    one_name: bool = False
    most: float = 1.0
    least: float = 0.0
    within: float = 1.0

    def passes(self, found: dict[str, float]) -> bool:
        right = found["control"]
        return self.least <= right <= self.most and abs(right - found["as asked"]) <= self.within


def empty(sample: Sample) -> Sample:
    *earlier, last = sample.turns
    return replace(sample, turns=(*earlier, replace(last, instruction="")))


def without_history(sample: Sample) -> Sample | None:
    return replace(sample, turns=chains.without_history(sample.turns)) if sample.history else None


def renamed(sample: Sample) -> Sample | None:
    """Names exchanged in the words; the old answer is wrong now."""
    return replace(sample, turns=sample.renamed.turns) if sample.renamed else None


def renamed_right(sample: Sample) -> Sample | None:
    """The same question, judged by what it asks for."""
    return replace(sample, turns=sample.renamed.turns, target=sample.renamed.target) if sample.renamed else None


def pictures_swapped(sample: Sample) -> Sample | None:
    """Two pictures change places and the words stay: by name they are about the other picture now."""
    *earlier, last = sample.turns
    if sample.renamed is None or len(last.pictures) != 2 or sample.renamed.back:
        return None
    turn = names.place(replace(last, edited=0), last.pictures, (1, 0))
    return replace(sample, turns=(*earlier, turn))


def both_swapped(sample: Sample) -> Sample | None:
    """The pictures of the last turn in reverse, each with the name it has then: the same question."""
    *earlier, last = sample.turns
    count = len(last.pictures)
    if count < 2 or not names.named(last.instruction):
        return None
    places = [range(len(turn.pictures)) for turn in earlier] + [range(count)[::-1]]
    turn = names.place(last, last.pictures, places[-1])
    turn = replace(turn, instruction=names.rename(turn.instruction, len(earlier), places), edited=count - 1 - last.edited)
    return replace(sample, turns=(*earlier, turn))


CONTROLS = {
    "without history": Control(without_history, most=0.05),
    "empty instruction": Control(empty, share=0.2, most=0.25),
    "names swapped in the words, by the old roles": Control(renamed, share=0.6, most=0.15),
    "names swapped in the words, by the new roles": Control(renamed_right, share=0.6, least=0.80),
    "one indicator for all": Control(lambda sample: sample if sample.renamed else None, share=0.6, one_name=True,
                                     most=0.5),  # a guess between two pictures is right half the time
    "pictures swapped": Control(pictures_swapped, most=0.15),
    "pictures and names swapped": Control(both_swapped, share=0.4, within=0.03)}
SAMPLERS = {"euler": lambda eps, noise, steps, generator: ddim(eps, noise, steps), "lcm": lcm}


class Answerer:
    """Samples answers; guidance and steps as given."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.vae, self.one_name, self.last = args, train_autoencoder.load(args.device), False, ([], [])
        self.hidden: list[int] | None = None
        self.model = None if args.ceiling else tiny.load(Tokenizer(args.tokenizer), args.weights).to(args.device).eval()
        if self.model and args.lora:
            lora.merge(self.model.dit, args.lora)
        if args.bf16 and self.model:
            self.model = tiny.network_of(self.model, "bf16", args.device)

    @torch.no_grad()
    def __call__(self, samples: list[Sample], one_name: bool = False, hidden: list[int] | None = None) -> list[Tensor]:
        """(3, H, W) in [0, 1] each.

        one_name: the network sees one name on all frames; the words keep theirs · hidden: a picture of each sample that the
        network sees all gray.
        """
        asked = [one_name, hidden, *(s.turns for s in samples)]
        if asked == self.last[0]:  # the same question, judged in another way
            return self.last[1]
        self.one_name = one_name
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, sample in enumerate(samples):
            groups[len(sample.pictures), sample.target.size].append(i)
        out: dict[int, Tensor] = {}
        for which in groups.values():
            for start in range(0, len(which), self.args.batch):
                part = which[start:start + self.args.batch]
                self.hidden = hidden and [hidden[i] for i in part]
                out |= dict(zip(part, self.answer([samples[i] for i in part]).cpu(), strict=True))
        self.last = asked, [out[i] for i in range(len(samples))]
        return self.last[1]

    def answer(self, samples: list[Sample]) -> Tensor:
        """(n, 3, H, W) for samples with equally many pictures of one size."""
        if self.model is None:
            images = render([s.target for s in samples], self.args.device)
            return self.vae.decode(self.vae.encode(images)).clamp(0, 1)
        return self.sample(frames_of(samples))

    def sample(self, frames: list[Frames]) -> Tensor:
        device = self.args.device
        images = torch.stack([f.images for f in frames], 1).to(device).float() / 255  # (N + 1, B, 3, H, W)
        for i, picture in enumerate(self.hidden or ()):
            images[1 + picture, i] = 0.5
        latents = self.vae.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        masks = torch.stack([f.masks for f in frames], 1).to(device)
        texts, negatives = ([list(t) for t in zip(*(getattr(f, name) for f in frames), strict=True)]
                            for name in ("texts", "negatives"))
        names = torch.tensor([f.names for f in frames], device=device).T
        both = [Batch(latents, masks, t, torch.zeros_like(names) if self.one_name else names) for t in (texts, negatives)]
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=device != "cpu"):
            branches = both[:1] if self.args.guidance == 1 else both
            prepared = [self.model.prepare(b.texts, b.names) for b in branches]
            reuses = [ContextReuse(self.args.reuse) for _ in branches]

            def eps(x: Tensor, t: Tensor) -> Tensor:
                for reuse in reuses:
                    reuse.begin(x)
                found = [self.model.eps(x, t, *each).float() for each in zip(branches, prepared, reuses, strict=True)]
                return guide(found[0], found[-1], self.args.guidance, self.args.rescale)
            generator = torch.Generator().manual_seed(self.args.seed)
            noise = torch.randn(latents[0].shape, generator=generator).to(device)
            clean = SAMPLERS[self.args.sampler](eps, noise, self.args.steps, generator)
        return self.vae.decode(clean.float()).clamp(0, 1)


def photo_cases() -> list[Sample]:
    """Every map that a photograph can have, of every photograph that was held out of training."""
    out = []
    for number in range(-len(photographs.load("held_out")), 0):
        source = Picture(photo=number, crop=(0.5, 0.5, 0.0))
        out += [Sample(ANALYSIS, f"photo {view}", (Turn(f"{analysis.MAP_WORDS[view][-1]} of {{image}}", (source,)),),
                       replace(source, view=view)) for view in analysis.OF_PHOTOS]
    return out


def measure(answers: list[Tensor], samples: list[Sample]) -> list[tuple[str, bool, dict]]:
    """Subtask, right?, numbers per sample."""
    return [(s.subtask, *judge(s, a)) for s, a in zip(samples, answers, strict=True)]


def score(args: argparse.Namespace) -> dict:
    """"tasks": {task: {"success", "cases", "subtasks", "numbers"}}, "controls": {control: {"as asked", "control", "cases"}}."""
    answerer, tasks, chosen = Answerer(args), {}, {}
    for task in args.tasks or TASKS:
        began, samples = time.time(), cases(args.seed, task, args.cases)
        chosen[task] = [(s, r) for s, r in zip(samples, measure(answerer(samples), samples), strict=True)]
        tasks[task] = summary(task, [result for _, result in chosen[task]], began)
    if not args.tasks:
        began = time.time()
        photos = photo_cases()
        tasks[PHOTOS] = summary(PHOTOS, measure(answerer(photos), photos), began)
    history = [r[1] for s, r in chosen.get(MULTI_TURN, []) if s.history]
    report = {"tasks": tasks, "history questions": share(history), "history cases": len(history), "controls": {},
              "settings": {k: str(v) for k, v in vars(args).items() if k in REPORTED}}
    print(f"history questions        {report['history questions']:6.1%}")
    for name in () if args.ceiling or args.no_controls else CONTROLS:
        report["controls"][name] = run_control(answerer, CONTROLS[name], chosen, args.cases)
        found = report["controls"][name]
        print(f"{name:46s} {found['control']:6.1%} right  (as asked {found['as asked']:.1%}, {found['cases']} cases)"
              + ("" if CONTROLS[name].passes(found) else "  beyond its limit"), flush=True)
    if report["controls"]:
        report["hiding"] = run_hiding(answerer, chosen)
        print(f"hiding the named picture changes more than hiding the other in {report['hiding']['share']:.1%} of "
              f"{report['hiding']['cases']} cases")
    return report


def run_control(answerer, control: Control, chosen: dict, count: int) -> dict[str, float]:
    """chosen: {task: [(sample, its result as asked)]}."""
    pairs = [(asked, result) for found in chosen.values()
             for sample, result in found[:max(8, round(count * control.share))] if (asked := control.ask(sample))]
    asked = [sample for sample, _ in pairs]
    results = measure(answerer(asked, control.one_name), asked)
    return {"as asked": share(r[1] for _, r in pairs), "control": share(r[1] for r in results), "cases": len(pairs)}


def run_hiding(answerer, chosen: dict) -> dict[str, float]:
    """Of two pictures, of which the last instruction names one: does hiding that one change the answer more?"""
    samples = [s for found in chosen.values() for s, _ in found
               if s.renamed and not s.renamed.back and len(s.turns[-1].pictures) == 2
               and len(names.named(s.turns[-1].instruction)) == 1][:HIDDEN]
    first = [len(s.pictures) - 2 for s in samples]
    named = [i + min(names.named(s.turns[-1].instruction)) for s, i in zip(samples, first, strict=True)]
    other = [2 * i + 1 - n for i, n in zip(first, named, strict=True)]
    plain, without_named, without_other = (answerer(samples, hidden=hidden) for hidden in (None, named, other))
    more = [float((p - n).abs().mean() > (p - o).abs().mean())
            for p, n, o in zip(plain, without_named, without_other, strict=True)]
    return {"share": share(more), "cases": len(samples)}


def table(report: dict) -> str:
    """Markdown for the README."""
    rows = ["| task | cases | right |", "|---|---:|---:|",
            *(f"| {task} | {found['cases']} | {found['success']:.0%} |" for task, found in report["tasks"].items()),
            f"| multi-turn questions that only the history answers | {report['history cases']} | "
            f"{report['history questions']:.0%} |", "",
            "Held-out photographs: seven maps of each of five. The depth guess that the model learned was chosen with these "
            "five in view.", "",
            "| control: the same cases … | cases | as asked | then |", "|---|---:|---:|---:|",
            *(f"| {name} | {found['cases']} | {found['as asked']:.0%} | {found['control']:.0%} |"
              for name, found in report["controls"].items()), "",
            f"Of two pictures of which an instruction names one, hiding the named one changes the answer more than hiding the "
            f"other in {report['hiding']['share']:.0%} of {report['hiding']['cases']} cases."]
    return "\n".join(rows) + "\n"


def publish(report: dict) -> None:
    """The table into the README, between its marks."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    text = f"{before}{BEGIN}\n{table(report)}{END}{rest.partition(END)[2]}"
    replace_file(README, lambda path: path.write_text(text, encoding="utf-8"))


def share(values) -> float:
    values = list(values)
    return sum(values) / max(1, len(values))


def means(pairs) -> dict[str, float]:
    """(name, value) … → the mean of every name."""
    groups = defaultdict(list)
    for name, value in pairs:
        groups[name].append(value)
    return {name: share(found) for name, found in sorted(groups.items())}


def summary(name: str, results: list[tuple[str, bool, dict]], began: float) -> dict:
    """What the report says about a task; printed too."""
    out = {"success": share(right for _, right, _ in results), "cases": len(results),
           "subtasks": means((subtask, right) for subtask, right, _ in results),
           "numbers": means(pair for *_, numbers in results for pair in numbers.items())}
    print(f"{name:24s} {out['success']:6.1%}   " + "  ".join(f"{k} {v:.2f}" for k, v in out["numbers"].items())
          + f"   {time.time() - began:.0f} s\n    " + ", ".join(f"{k} {v:.0%}" for k, v in out["subtasks"].items()), flush=True)
    return out


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m demo.score", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--seed", type=int, default=12345)
    p.add_argument("--cases", type=int, default=200, help="cases per task (default 200)")
    p.add_argument("--tasks", nargs="*", choices=TASKS)
    p.add_argument("--steps", type=int, default=Sampling.steps)
    p.add_argument("--guidance", type=float, default=Sampling.guidance)
    p.add_argument("--rescale", type=float, default=Sampling.rescale)
    p.add_argument("--sampler", choices=SAMPLERS, default="euler", help="lcm: for a LoRA for few steps, with --guidance 1")
    p.add_argument("--lora", type=Path, help="file to add to the weights, such as that of demo.trainer.fast")
    p.add_argument("--bf16", action="store_true", help="the network in bfloat16, as ComfyUI runs it on most cards")
    p.add_argument("--reuse", type=int, default=1, help="compute condition images in every so many steps (default: in all)")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--ceiling", action="store_true", help="score the exact answers, passed through the autoencoder")
    p.add_argument("--no-controls", action="store_true")
    p.add_argument("--weights", type=Path, default=tiny.WEIGHTS, help="folder of the weights (default: those that ship)")
    p.add_argument("--tokenizer", type=Path, help="tokenizer.json of T5 (default: the one in COMFYUI_PATH)")
    p.add_argument("--out", type=Path, help="file for the report as JSON")
    p.add_argument("--publish", action="store_true", help="save the report beside the weights and its table in the README")
    return p


def main() -> None:
    args = parser().parse_args()
    report = score(args)
    text = json.dumps(report, indent=1) + "\n"
    for target in filter(None, (args.out, args.publish and REPORT)):
        replace_file(target, lambda path: path.write_text(text, encoding="utf-8"))
    if args.publish:
        publish(report)


if __name__ == "__main__":
    main()
