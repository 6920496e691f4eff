"""A run from its settings: data, memory, encoding, the loop, samples, the page. `python -m training` calls it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

import psutil
import torch
from PIL import Image
from torch import Tensor

from ace_model import checkpoint
from ace_model.comfyui import headless
from ace_model.config import DEFAULTS, Defaults, kind_of
from ace_model.dit import DiT
from ace_model.errors import InputError
from ace_model.images import fit

from . import data, lora, memory, page, requests
from .checkpoints import Checkpoints
from .encode import Encoder
from .feed import Feed
from .loop import Loop, left, rate
from .network import BASES, Network, frozen
from .objectives import objective_of, preservation
from .processes import Several
from .settings import Settings

WITHOUT_TEXT = 0.1  # of what is preserved, for guidance compares with the answer without an instruction
MEASURED = 3  # steps before a run on a CPU says how long it will take
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class RunError(InputError):
    """A run that cannot be done as it is set."""


class Run:
    """settings: of the run · folder: that the settings file lies in · comfyui: the folder that holds main.py."""

    def __init__(self, settings: Settings, folder: Path, comfyui: Path):
        self.settings, self.folder, self.comfyui = settings, folder, comfyui
        self.processes = Several(cpu=not torch.cuda.is_available())  # before ComfyUI looks for a device
        self.device = self.processes.device
        if self.device.type == "cpu":
            memory.return_freed()
        headless.start(comfyui)
        from ace_model.comfyui import loader  # needs ComfyUI
        self.loader = loader
        self.files = {name: self.path(name, look) for name, look in {
            "diffusion": loader.diffusion_model_path, "text_encoder": loader.text_encoder_path, "vae": loader.vae_path}.items()}
        self.read_model()
        self.examples, self.preserved = self.read_examples(settings.data.path, settings.data.controls), []
        if settings.data.preserve:
            self.preserved = self.read_examples(settings.data.preserve, ())
        self.requests = requests.read(settings.samples.requests, folder)
        self.say(f"{settings.data.path}: {len(self.examples)} examples" + (
            f", and {len(self.preserved)} to preserve" if self.preserved else ""))

    def read_model(self) -> None:
        """Its weights and configuration, and the token budget of a picture."""
        self.weights, self.config = checkpoint.read(self.files["diffusion"])
        if strange := self.weights.keys() - DiT(self.config, device="meta").state_dict().keys():
            raise RunError(f"{Path(self.files['diffusion']).name} is quantized ({min(strange)}): train on the full file, and "
                           "set model.base to fp8 to keep it small.")
        own = defaults_of(Path(self.files["diffusion"]))
        self.budget = self.settings.train.token_budget or own.token_budget
        self.defaults = replace(own, token_budget=self.budget)
        self.say(f"{Path(self.files['diffusion']).name}: width {self.config.hidden_size}, {self.config.depth} blocks")

    def read_examples(self, path: Path, controls: tuple[Path, ...]) -> list[data.Example]:
        return data.read(path, controls, self.settings.data.folder, self.tokens, self.budget)

    def say(self, text: str) -> None:
        if self.processes.rank == 0:
            print(text, flush=True)

    @property
    def cache(self) -> Path:
        return self.settings.data.cache or self.settings.output / "cache"

    def path(self, name: str, look) -> str:
        value = getattr(self.settings.model, name)
        if Path(value).is_file():
            return value
        try:
            return look(value)
        except FileNotFoundError:
            raise RunError(f"model.{name} is {value}, but ComfyUI's models folders have no such file, and neither has "
                           f"{self.folder}: give a name in models/, or a path.") from None

    def tokens(self, text: str) -> list[int]:
        if not hasattr(self, "_tokenizer"):
            from transformers import T5TokenizerFast
            self._tokenizer = T5TokenizerFast.from_pretrained(str(self.comfyui / "comfy" / "text_encoders" / "t5_tokenizer"))
        return self._tokenizer(text)["input_ids"]

    # ---- memory

    def predict(self) -> memory.Prediction:
        """Of the largest batch that the data can give."""
        largest = max(self.examples + self.preserved, key=lambda each: sum(h * w for h, w in sides_of(each, self.budget)))
        words = [len(self.tokens(frame.text)) for frame in largest.outline().frames()]
        return memory.predict(self.config, self.settings, sides_of(largest, self.budget), words, self.device)

    def check(self) -> bool:
        """Say what memory the run takes and whether that is there."""
        found, free = self.predict(), free_bytes(self.device)
        self.say("\n".join(found.lines()))
        fits = found.total < free
        self.say(f"{free / 2**20:,.0f} MiB are free on {self.device}: " + (
            "enough." if fits else f"too little. {self.advice()}"))
        return fits

    def advice(self) -> str:
        """Which setting to lower first."""
        model, train = self.settings.model, self.settings.train
        if not model.checkpointing:
            return "Set model.checkpointing to true."
        if train.batch > 1:
            return f"Lower train.batch from {train.batch} to {train.batch // 2} and double train.accumulate."
        if model.base != "fp8":
            return f"Set model.base from {model.base} to {'bf16' if model.base == 'float32' else 'fp8'}."
        return f"Lower train.token_budget from {self.budget}, or train on fewer layers (lora.targets)."

    # ---- training

    def encoders(self) -> tuple[Encoder, Callable[[list], requests.Requests]]:
        """(what encodes examples, what encodes the requests for samples in the first process)."""
        from . import encoders  # needs ComfyUI
        clip, vae = self.loader.load_text_encoder(self.files["text_encoder"]), self.loader.load_vae(self.files["vae"])
        encoder = Encoder(encoders.of(clip, vae), self.cache, self.budget)
        width = encoder.names().shape[1]
        if width != self.config.text_width:
            raise RunError(f"model.text_encoder has features of width {width}, but {Path(self.files['diffusion']).name} reads "
                           f"{self.config.text_width}: give the text encoder that belongs to it.")
        return encoder, lambda found: requests.Requests(found, clip, vae, self.defaults)

    def encoded(self) -> tuple[Encoder, requests.Requests]:
        """Everything encoded; afterwards the text encoder is gone."""
        encoder, asking = self.encoders()
        started = monotonic()
        if self.processes.rank:
            self.processes.wait()  # the first encodes, and the others find it
        encoder.prepare(self.examples + self.preserved)
        if not self.processes.rank:
            self.processes.wait()
        asked = asking(self.requests if self.processes.rank == 0 else [])
        self.say(f"encoded in {left(monotonic() - started)}")
        encoder.encoders = replace(encoder.encoders, encode_text=gone)  # lets go of the text encoder
        del asking
        headless.release()
        return encoder, asked

    def network(self, encoder: Encoder) -> Network:
        """As it computes, frozen."""
        model = self.settings.model
        dit = frozen(self.weights, self.config, model.base, model.checkpointing, self.device)
        return Network(dit, encoder.features, BASES[model.base])

    @contextlib.contextmanager
    def memory_explained(self) -> Iterator[None]:
        """Turns what PyTorch raises when memory is full into a RunError."""
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(
                    sign in str(error).lower() for sign in OUT_OF_MEMORY):
                raise
            raise RunError(f"the memory of {self.device} is full. {self.advice()} `--check` says what a run takes. Then run "
                           "the same command again: it goes on from the last checkpoint.") from None

    def feed(self, encoder: Encoder, examples: Sequence[data.Example], drop_text: float) -> Feed:
        train, processes = self.settings.train, self.processes
        return Feed(lambda i: encoder(examples[i]), len(examples), train.batch, train.accumulate, train.seed, drop_text,
                    train.drop_history, processes.rank, processes.count)

    def train(self) -> None:
        """To the last step. Raises InputError, KeyboardInterrupt."""
        with self.memory_explained():
            self._train()

    def _train(self) -> None:
        settings, train = self.settings, self.settings.train
        encoder, asked = self.encoded()
        network = self.network(encoder)
        live = lora.add(network.dit, settings.lora.rank, settings.lora.alpha, settings.lora.targets, settings.train.seed)
        learned = self.feed(encoder, self.examples, train.drop_text)
        kept = self.preserved and self.feed(encoder, self.preserved, max(train.drop_text, WITHOUT_TEXT))
        objective = objective_of(settings)
        loop = Loop(live, [optimizer_of(settings, list(live.values()))],
                    rate(settings.optimizer.schedule, settings.optimizer.rate, settings.optimizer.warmup, settings.train.steps),
                    Checkpoints(settings.output / "checkpoints", settings.save.keep), settings.train.ema,
                    identity=identity(settings), clip=settings.optimizer.clip, processes=self.processes)
        if loop.resume():
            self.say(f"going on after step {loop.step}")
        report = Report(self, loop, live, network, asked)

        def work(step: int) -> Iterator[tuple[Tensor, Tensor]]:
            for part in range(settings.train.accumulate):
                batch, draws = learned(step, part)
                loss = objective(network, batch.to(self.device), draws) / train.accumulate
                yield loss, loss
                if kept:
                    batch, draws = kept(step, part)
                    moved = preservation(network, batch.to(self.device), draws, train.min_snr) / train.accumulate
                    yield train.preserve * moved, torch.zeros_like(moved)  # the curve is of what is learned
        report.begin()
        try:
            loop.run(work, settings.train.steps, settings.train.every, settings.save.every, after=report.after,
                     export=report.export)
        except KeyboardInterrupt:
            self.say(f"\nStopped; step {loop.step} is saved. Run the same command again to go on.")
            raise
        self.say(f"{report.file} loads in Load LoRA.\n{settings.output / page.NAME} shows how it went.")


class Report:
    """What a run leaves behind: samples, LoRA files, the page."""

    def __init__(self, run: Run, loop: Loop, live: dict[str, Tensor], network: Network, asked: requests.Requests):
        self.run, self.loop, self.live, self.network, self.asked = run, loop, live, network, asked
        self.first, self.started = loop.step, monotonic()
        self.notes: list[str] = []

    @property
    def file(self) -> Path:
        return self.run.settings.output / f"{self.run.settings.output.name}.safetensors"

    def begin(self) -> None:
        if self.loop.step == 0 and self.run.settings.samples.every:
            self.samples()
        self.started = monotonic()

    def after(self, loss: float) -> None:
        settings, step = self.run.settings, self.loop.step
        done = step - self.first
        if self.run.device.type == "cpu" and done == MEASURED:
            took = (monotonic() - self.started) / done
            self.notes = [f"There was no GPU: a step took {took:.1f} s, so {settings.train.steps} steps take "
                          f"{left(took * settings.train.steps)}."]
            self.run.say(f"There is no GPU. A step takes {took:.1f} s, so {settings.train.steps - step} more steps take "
                         f"{left(took * (settings.train.steps - step))}.")
        every = settings.samples.every
        if every and (step % every == 0 or step == settings.train.steps):
            self.samples()

    def samples(self) -> None:
        """With the averaged weights, if there are some."""
        if self.run.processes.rank or not self.asked.turns:
            return
        with lora.holding(self.live, self.loop.average):
            for number in range(len(self.asked.turns)):
                pixels = self.asked.answer(self.network, number)
                page.keep_sample(self.run.settings.output, self.loop.step, number, pixels)

    def export(self) -> None:
        """The LoRA of this step, the newest under the run's own name, and the page."""
        settings, step = self.run.settings, self.loop.step
        about = {"model": Path(self.run.files["diffusion"]).name, "steps": step, "examples": len(self.run.examples),
                 **identity(settings)}
        for path in (self.file.with_stem(f"{self.file.stem}-{step:06d}"), self.file):
            lora.save_file(path, self.loop.average, settings.lora.alpha, about, settings.lora.save_as)
        ended = [f"The LoRA of step {step} is {self.file.name}."]
        page.make(settings.output, settings, self.loop.curve, step, self.loop.seconds, self.asked.captions,
                  self.notes + ended if step < settings.train.steps else ended, self.asked.pictures)


def identity(settings: Settings) -> dict[str, object]:
    """What a checkpoint and its continuation must agree in."""
    targets = settings.lora.targets
    return {"model.diffusion": Path(settings.model.diffusion).name, "lora.rank": settings.lora.rank,
            "lora.alpha": settings.lora.alpha, "lora.targets": targets if isinstance(targets, str) else list(targets),
            "optimizer.kind": settings.optimizer.kind, "train.objective": settings.train.objective}


def optimizer_of(settings: Settings, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    kind, decay = torch.optim.AdamW, settings.optimizer.weight_decay
    if settings.optimizer.kind == "adamw8bit":
        try:
            from bitsandbytes.optim import AdamW8bit as kind
        except ImportError:
            raise RunError("optimizer.kind is adamw8bit, which needs bitsandbytes, and that is not there: install it, or set "
                           "adamw.") from None
    return kind(parameters, lr=settings.optimizer.rate, weight_decay=decay)


def defaults_of(path: Path) -> Defaults:
    """Steps and token budget of a model file."""
    metadata = None
    if path.suffix.lower() in (".safetensors", ".sft"):
        with checkpoint.safe_open(path, "pt") as file:
            metadata = file.metadata()
    return DEFAULTS[kind_of(path.name, metadata)]


def sides_of(example: data.Example, budget: int) -> memory.Sides:
    """Height and width in pixels of each frame, as it is encoded."""
    sizes = []
    for picture in (example.turn.target, *(each for turn in example.record.turns for each in turn.images)):
        with Image.open(example.path(picture)) as image:
            sizes.append(fit(image.height, image.width, example.turn.settings.token_budget or budget)[1])
    return sizes


def free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def gone(words: str) -> Tensor:
    raise RunError(f"{words!r} was not encoded before training. Delete the cache folder and run again.")
