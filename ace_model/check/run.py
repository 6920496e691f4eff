"""The check: measure, compare, decide, and make pictures to look at. Nothing of it is random but what the seed says."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..comfyui import sampling
from ..comfyui.conditioning import conditioning, empty_latent, tokenize
from ..comfyui.loader import defaults_of
from ..comfyui.probe import Errors
from ..lcu import ConditionUnit
from . import measure
from .cases import TASKS, Plan, Starters, all_pairs, plan_for
from .pairs import TIMESTEPS, Ask, Outcome, Pair, crossed, judge, mean
from .report import Report, RoundTrip, Shown
from .verdict import decide
from .weights import suspicion

RED = (0.45, 0.1, 0.1)  # added where a mask is


def check(model, clip, vae, seed: int, steps: int, starters: Starters, progress: Callable[[int], Callable[[], None]]) -> Report:
    """Measure a MODEL, CLIP and VAE. steps: of the pictures, 0 for the model's own · progress: total → what to call after each
    part of it.

    Raises ModelError, TextEncoderError, VAEError for what is no set-up of ACE at all.
    """
    sampling.check_model(model)
    plan = plan_for(model.model.diffusion_model.config.hidden_size)
    pairs = all_pairs(plan, starters.phrase)
    asks = list(dict.fromkeys(ask for pair in pairs for ask in pair.right + pair.swapped))
    made = measure.prepare(plan, starters.opened)
    latents = {ask.truth for ask in asks} | {seen for ask in asks for seen in ask.sees}
    tick = progress(len(latents) + len(made.pictures) + len(asks) + 2 * len(plan.edits))
    measure.encode(made, asks, clip, vae, tick)
    trips = measure.round_trips(made, vae, tick)
    found: dict[Ask, Errors] = {}
    for ask in asks:
        found[ask] = measure.ask(made, ask, model, seed)
        tick()
    outcomes = compare(pairs, found, trips)
    suspicions = {"diffusion model": suspicion(model.model.diffusion_model.state_dict()),
                  "text encoder": suspicion(clip.cond_stage_model.state_dict())}
    verdict = decide(outcomes, better_spaces(pairs, found), suspicions)
    return Report(verdict, outcomes, by_level(pairs, found), trips, statistics(made, model), seed,
                  answer(plan, starters, model, clip, vae, seed, steps, tick))


def compare(pairs: list[Pair], found: dict[Ask, Errors], trips: list[RoundTrip]) -> dict[str, Outcome]:
    """One outcome for each of verdict.BEATEN."""
    errors = {ask: each.model for ask, each in found.items()}
    kinds = dict.fromkeys(pair.kind for pair in pairs)
    out = {kind: crossed([pair for pair in pairs if pair.kind == kind], errors) for kind in kinds}
    right = [found[ask] for ask in dict.fromkeys(ask for pair in pairs for ask in pair.right) if ask.timesteps == TIMESTEPS]
    out["noise"] = judge((each.model[-1], 1.0) for each in right)
    # Not under the strongest noise: a guess is good there, and rounding to fp8 alone is worse.
    out["blind"] = judge(both for each in right for both in zip(each.model[:-1], each.blind[:-1], strict=True))
    out["round trip"] = judge(both for trip in trips for both in zip(trip.errors, trip.flat, strict=True))
    return out


def better_spaces(pairs: list[Pair], found: dict[Ask, Errors]) -> int:
    """How many other latent spaces suit the model better than the VAE's, in every picture."""
    spaces: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.kind == "latents":
            spaces.setdefault(pair.about, []).append(pair)
    return sum(crossed(each, {ask: errors.model for ask, errors in found.items()}).wins == 0 for each in spaces.values())


def by_level(pairs: list[Pair], found: dict[Ask, Errors]) -> dict[int, dict[str, float]]:
    def of(kinds: tuple[str, ...], side: str) -> list[Errors]:
        return [found[ask] for ask in dict.fromkeys(ask for pair in pairs if pair.kind in kinds for ask in getattr(pair, side))]

    one, two = of(("picture", "instruction"), "right"), of(("names",), "right")
    columns = {"right": one, "wrong picture": of(("picture",), "swapped"),
               "wrong instruction": of(("instruction",), "swapped"), "two pictures, right": two,
               "two pictures, wrong name": of(("names",), "swapped")}
    return {t: {**{name: mean(each.model[i] for each in column) for name, column in columns.items()},
                "no model": mean(each.blind[i] for each in one)} for i, t in enumerate(TIMESTEPS)}


def statistics(made: measure.Encoded, model) -> list[tuple[float, float]]:
    """Over the plain pictures. A VAE that suits the model gives a spread near 1."""
    channels = [model.model.process_latent_in(made.seen[name, ""][0]).float().flatten(2)[0] for name in made.pictures]
    together = [list(each) for each in zip(*channels, strict=True)]
    return [(float(sum(c.mean() for c in each)) / len(each), float(sum(c.std() for c in each)) / len(each))
            for each in together]


def answer(plan: Plan, starters: Starters, model, clip, vae, seed: int, steps: int, tick: Callable[[], None]) -> list[Shown]:
    """The edits to look at. Everything is encoded first, so that models take turns in memory once."""
    budget, prepared = defaults_of(model).token_budget, []
    for edit in plan.edits:
        opened = [starters.opened(name) for name in edit.pictures]
        unit = ConditionUnit(edit.words, [pixels for pixels, _ in opened], [mask for _, mask in opened], edit.blank)
        side = 0 if opened else plan.size
        prepared.append((edit, opened, tokenize(unit, clip, vae, side, side, 0, budget)))
        tick()
    latents = []
    for _, _, tokens in prepared:
        positive, negative = conditioning(tokens)
        latents.append(sampling.sample(model, positive, negative, empty_latent(tokens.size), seed, steps, plan.guidance,
                                       plan.rescale, 1.0)["samples"])
        tick()
    return [Shown(edit, [marked(*each) for each in opened], vae.decode(latent)[0].float().cpu().clamp(0, 1),
                  TASKS[edit.truth].truth(opened[0][0]) if edit.truth else None)
            for (edit, opened, _), latent in zip(prepared, latents, strict=True)]


def marked(pixels: Tensor, mask: Tensor | None) -> Tensor:
    """The mask in red, to look at."""
    return pixels if mask is None else torch.where(mask[..., None] > 0.5, 0.55 * pixels + pixels.new_tensor(RED), pixels)
