"""From comparisons to words: is the set-up right, and if not, which file is the likely mistake."""

from collections.abc import Mapping
from dataclasses import dataclass

from .pairs import Outcome

BEATEN = {  # what a comparison asks, as the report says it
    "noise": "strong noise is predicted better than not at all",
    "round trip": "the VAE gives a picture back better than one color per 32×32 pixels does",
    "latents": "the VAE's latents suit the model better than other latent spaces",
    "instruction": "the right instruction beats another task's",
    "picture": "the right picture beats another",
    "names": "the right image name beats the other picture's",
    "rows": "the image names as they are beat names in another order",
    "blind": "the model beats the best guess without a model",
}
ORIGINAL_VAE = "vae-ft-mse-840000-ema-pruned.safetensors"


@dataclass(frozen=True)
class Verdict:
    """right: nothing speaks against the set-up · likely: what to look at first, empty if right · headline, words: to read."""

    right: bool
    likely: str
    headline: str
    words: str


def wrong(likely: str, headline: str, words: str) -> Verdict:
    return Verdict(False, likely, f"Wrong: {headline}", words)


def decide(outcomes: Mapping[str, Outcome], better_spaces: int, suspicions: Mapping[str, str]) -> Verdict:
    """outcomes: one for each of BEATEN · better_spaces: other latent spaces that suit the model better than the VAE's ·
    suspicions: {"diffusion model" or "text encoder": what is odd about its weights}.

    The order matters: a broken model makes every comparison fail, a wrong VAE most of them, mixed-up names only their own.
    """
    shown = {name: outcome.shown for name, outcome in outcomes.items()}
    model, text = (suspicions.get(role, "") for role in ("diffusion model", "text encoder"))
    if not shown["noise"]:
        return badly_converted("diffusion model", model) if model else broken_model()
    if not shown["round trip"]:
        return broken_vae()
    if not shown["latents"] or better_spaces:
        return badly_converted("diffusion model", model) if model else foreign_vae(better_spaces)
    if not shown["instruction"]:
        suspect = "text encoder" if text else "diffusion model"
        return badly_converted(suspect, text or model) if text or model else foreign_text()
    if not shown["picture"] or not shown["blind"]:
        return badly_converted("diffusion model", model) if model else deaf_model()
    if not shown["names"] and not outcomes["names"].reversed and not outcomes["rows"].reversed:
        return deaf_to_names()
    if not shown["names"] or not shown["rows"]:
        return mixed_names()
    odd = f" One thing is odd all the same: {model or text}." if model or text else ""
    return Verdict(True, "", "Right: model, text encoder and VAE belong together.",
                   "With the right picture, instruction and names the model predicts noise better than with any of them "
                   f"exchanged, and the VAE's latents are those that it knows.{odd}")


def broken_model() -> Verdict:
    return wrong("diffusion model", "the diffusion model's weights do not work.",
                 "It predicts even strong noise no better than not at all, and for that it needs no picture, no words and no "
                 "VAE. The file is damaged in a way that leaves its numbers finite, or a converter or a merge spoiled it. "
                 "Download the original again, and load it with weight_dtype default.")


def broken_vae() -> Verdict:
    return wrong("VAE", "the VAE does not give pictures back.",
                 "What it encodes and decodes at once comes back worse than one color per 32×32 pixels. The file is damaged or "
                 f"incomplete, or it is no VAE of Stable Diffusion 1.x. Choose {ORIGINAL_VAE}.")


def foreign_vae(better_spaces: int) -> Verdict:
    return wrong("VAE", "this VAE is not the one that the model was trained with.",
                 f"It gives pictures back, but the model does not know its latents: {better_spaces} other latent spaces, made "
                 "by mixing its channels, suit the model better. SDXL's VAE, for example, has the same shapes and other "
                 f"latents. Choose {ORIGINAL_VAE}.")


def foreign_text() -> Verdict:
    return wrong("text encoder", "the model does not understand this text encoder.",
                 "It makes no difference that chance could not make whether the model reads the right instruction or another "
                 "task's, while pictures and VAE work. The text encoder is not the one that the model was trained with, or its "
                 "file is damaged. Choose t5xxl_fp16.safetensors.")


def deaf_model() -> Verdict:
    return wrong("diffusion model", "the diffusion model hardly uses its pictures.",
                 "It follows words, but the right picture helps no more than another, or no more than no model at all. Take "
                 "away LoRAs and patches. If that does not help, download the model again.")


def mixed_names() -> Verdict:
    return wrong("names", "the image names are mixed up.",
                 "Pictures and instructions work, but of two pictures the model does not reliably use the one that the "
                 "instruction names, though it does tell them apart by name. Take away nodes that change the text encoder, and "
                 "update the pack.")


def deaf_to_names() -> Verdict:
    return Verdict(False, "names", "Doubtful: nothing shows that the model tells two pictures apart by name.",
                   "Pictures and instructions work. Of two pictures, the one that the instruction names helps no more than the "
                   "other. The image names may be missing on their way to the model. A model that was trained on single "
                   "pictures shows the same, so for edits of one picture the files are right.")


def badly_converted(role: str, why: str) -> Verdict:
    instead = {"diffusion model": "the original file, and let Load ACE Model convert it (weight_dtype)",
               "text encoder": "t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn.safetensors"}[role]
    return wrong(f"{role}, converted", f"the {role} was converted badly, probably to fp8.",
                 f"Its weights do not work, and the reason shows: {why}. Use {instead}.")
