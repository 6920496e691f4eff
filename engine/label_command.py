"""`python -m engine label PAIRS OUT --server URL --model FILE`: a list of pairs → a data set with instructions.

OUT/turns.jsonl and OUT/pictures/ are the data set that training reads. OUT/labelling/ holds what the model answered, the pairs
that were left out with the reasons, and the counts. Run the same command again to go on where a run stopped.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ace_model import record_json
from ace_model.errors import InputError
from training.data import copied
from training.files import replaced
from training.formats import LISTS, listing

from . import pairs, prompts, turns
from .answers import OUTCOMES, Answers
from .labels import REASONS, Label, Labeller, LeftOut, label
from .language import ComfyLanguage, Settings

LIST, NOTES = "turns.jsonl", "labelling"


class LabelError(InputError):
    """An option or a folder that labelling cannot work with."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pairs", metavar="PAIRS", type=Path, help="the pairs.jsonl that pairing wrote")
    parser.add_argument("out", metavar="OUT", type=Path, help="a folder for the data set")
    parser.add_argument("--server", metavar="URL", action="append", required=True,
                        help="a running ComfyUI; give several to share the work")
    parser.add_argument("--model", metavar="FILE", required=True, help="a language model that sees, in models/text_encoders: "
                        "Qwen3-VL, Qwen3.5, Gemma 4")
    parser.add_argument("--kind", default=Settings.kind, help="Load CLIP's type (default: %(default)s)")
    parser.add_argument("--wordings", type=int, default=3, help="instructions for each pair (default: %(default)s)")
    parser.add_argument("--templates", type=int, default=1, help="further ones from templates (default: %(default)s)")
    parser.add_argument("--tries", type=int, default=3, help="answers to a question until one is well formed (default: "
                        "%(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="turns of a conversation at most, 1 for none (default: "
                        "%(default)s)")
    parser.add_argument("--chained", type=float, default=0.5, help="share of the wordings that become turns of a conversation, "
                        "where pairs follow on each other (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another one brings other answers (default: %(default)s)")
    parser.add_argument("--size", type=int, default=Settings.size, help="pixels of a picture's longer side, for the model "
                        "(default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=Settings.temperature, help="default: %(default)s")
    parser.add_argument("--longest", type=int, default=Settings.longest, help="tokens of an answer (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=Settings.timeout, help="seconds for an answer (default: "
                        "%(default)s)")
    parser.add_argument("--prompts", metavar="FOLDER", type=Path, help="questions of your own (default: engine/prompts)")
    parser.add_argument("--answers", metavar="FOLDER", type=Path, help="for the answers (default: OUT/labelling/answers)")


LIMITS = {"wordings": (1, 20), "templates": (0, 20), "tries": (1, 20), "turns": (1, turns.MOST_TURNS), "chained": (0, 1),
          "seed": (0, 2**63), "size": (64, 4096), "temperature": (0.01, 2), "longest": (16, 32768), "timeout": (1, 86400)}


def check(args: argparse.Namespace) -> None:
    """Raises LabelError for what could only fail later."""
    for name, (low, high) in LIMITS.items():
        if not low <= getattr(args, name) <= high:
            raise LabelError(f"--{name} is {getattr(args, name)}, but must be from {low} to {high}.")
    if args.out.exists() and not args.out.is_dir():
        raise LabelError(f"{args.out} is a file: give a folder for the data set.")
    if (args.out / LIST).exists() and not (args.out / NOTES).is_dir():
        raise LabelError(f"{args.out / LIST} is there, and labelling did not write it: give another folder.")
    others = [each.name for each in listing(args.out) if each.suffix.lower() in LISTS and each.name != LIST] \
        if args.out.exists() else []
    if others:
        raise LabelError(f"{args.out} holds {others[0]}, and a data set has one list only: give another folder.")


def run(args: argparse.Namespace) -> int:
    """0: there is a data set. 1: no pair was kept. Raises InputError and OSError."""
    check(args)
    questions = prompts.read(args.prompts)
    listed = pairs.read(args.pairs)
    if not listed:
        raise LabelError(f"{args.pairs} has no pair: look at what pairing left out.")
    found = sorted({(pair.source, pair.target): pair for pair in listed}.values(), key=lambda pair: pair.group)
    if len(found) < len(listed):
        print(f"{len(listed) - len(found)} rows of {args.pairs} name a pair that another row names: each pair counts once.")
    settings = Settings(args.kind, args.longest, args.temperature, size=args.size, timeout=args.timeout)
    language = ComfyLanguage(args.server, args.model, settings)
    language.check()
    notes = args.out / NOTES
    answers = Answers(language, args.answers or notes / "answers", args.tries, args.seed)
    labeller = Labeller(answers, args.wordings, args.templates, questions)
    notes.mkdir(parents=True, exist_ok=True)
    names: dict[Path, str] = {}
    totals = Counter(dict.fromkeys(("pairs", "kept", *REASONS, "wordings", "records", "conversations"), 0))

    def kept(path: Path) -> str:
        if path not in names:
            names[path] = copied(path, args.out)
        return names[path]

    def labels(left_out) -> Iterator[Label]:
        bar = tqdm(label(found, labeller.label, len(language.servers)), total=len(found), unit="pair")
        for each in bar:
            totals["pairs"] += 1
            if isinstance(each, LeftOut):
                totals[each.why] += 1
                left_out.write(json.dumps({"source": str(each.pair.source), "target": str(each.pair.target), "why": each.why,
                                           "what": each.what}) + "\n")
            else:
                totals["kept"] += 1
                totals["wordings"] += len(each.wordings)
                yield each
            bar.set_postfix({name: totals[name] for name in ("kept", *REASONS) if totals[name]}, refresh=False)

    def fill(part: Path) -> None:
        with (part.open("w", encoding="utf-8", newline="\n") as list_file,
              (notes / "left_out.jsonl").open("w", encoding="utf-8", newline="\n") as left_out):
            for each in turns.records(labels(left_out), kept, args.turns, args.chained, args.seed):
                list_file.write(json.dumps(record_json.to_data(each), ensure_ascii=False) + "\n")
                totals["records"] += 1
                totals["conversations"] += len(each.turns) > 1

    (args.out / "pictures").mkdir(parents=True, exist_ok=True)
    try:
        replaced(args.out / LIST, fill)
    finally:
        counts = {**totals, "answers": answers.counts.data()}
        replaced(notes / "counts.json", lambda part: part.write_text(json.dumps(counts, indent=1), encoding="utf-8"))
        print(summary(counts))
    if not totals["kept"]:
        print(f"No pair was kept: {notes / 'left_out.jsonl'} says why.")
        return 1
    print(f"{args.out / LIST} is ready: point data.path of the training settings at {args.out}.")
    return 0


def summary(counts: dict) -> str:
    """A table of the answers, and what became of the pairs."""
    rows = [("answers", *OUTCOMES), *((step, *(f"{found[name]}" for name in OUTCOMES))
                                      for step, found in counts["answers"].items())]
    table = "\n".join(f"{row[0]:<12}" + "".join(f"{cell:>11}" for cell in row[1:]) for row in rows)
    return (f"{table}\n{counts['pairs']} pairs: {counts['kept']} kept, "
            f"{', '.join(f'{counts[name]} {name}' for name in REASONS)}\n"
            f"{counts['wordings']} wordings in {counts['records']} records, {counts['conversations']} of them conversations")
