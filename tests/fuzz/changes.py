"""One change to a request, and what it must do: change the result, leave it, or be refused clearly.

Each function takes (rng, request) and returns the changed request, or None if the change says nothing about this one.
"""

from dataclasses import replace
from random import Random

from ace_model.comfyui.graph import node
from tools.gallery.models import DEMO_T5, DIT_1024, FLUX, FLUX_VAE

from .requests import SIZES, Request, graph, name

CHANGES, SAME, REFUSED, ANY = "changes", "same", "refused", "any"
KINDS: dict[str, tuple[str, object]] = {}  # name: (what it must do, function)


def must(outcome: str):
    def enter(change):
        KINDS[change.__name__.replace("_", " ")] = (outcome, change)
        return change
    return enter


def last(asked: Request, **changes) -> Request:
    return replace(asked, turns=(*asked.turns[:-1], replace(asked.last, **changes)))


def put(asked: Request, **nodes) -> Request:
    """With further nodes; an underscore in a name is a space."""
    return replace(asked, nodes=asked.nodes | {key.replace("_", " "): one for key, one in nodes.items()})


def rewire(asked: Request, source: list, new: dict, into: str | None = None) -> Request | None:
    """All links from `source` come from a new node instead, which takes `source` as input `into`."""
    changed = {}
    for key, one in graph(asked).items():
        inputs = {slot: ["new", 0] if value == source else value for slot, value in one["inputs"].items()}
        if inputs != one["inputs"]:
            changed[key] = {**one, "inputs": inputs}
    new = {**new, "inputs": ({into: source} if into else {}) | new["inputs"]}
    return put(asked, **changed, new=new) if changed else None


def widen(asked: Request, key: str, **inputs) -> dict:
    """{key: its node with further inputs}"""
    one = graph(asked)[key]
    return {key: {**one, "inputs": one["inputs"] | inputs}}


def guided(asked: Request) -> bool:
    return asked.guidance != 1


@must(CHANGES)
def another_seed(rng: Random, asked: Request):
    return replace(asked, seed=asked.seed + 1)


@must(CHANGES)
def one_step_more(rng, asked):
    return replace(asked, steps=asked.steps + 1)


@must(CHANGES)
def another_guidance(rng, asked):
    return replace(asked, guidance=asked.guidance + 1.5)


@must(CHANGES)
def another_rescale(rng, asked):
    return replace(asked, rescale=1 - asked.rescale if asked.rescale != 0.5 else 0.2) if asked.guidance > 1 else None


@must(CHANGES)
def another_negative(rng, asked):
    return replace(asked, negative=asked.negative + " and dull") if guided(asked) else None


@must(CHANGES)
def another_instruction(rng, asked):
    return last(asked, instruction=f"{asked.last.instruction}, red") if asked.guidance else None


@must(CHANGES)
def another_picture(rng, asked):
    if not asked.last.pictures:
        return None
    slot = rng.randrange(len(asked.last.pictures))
    other = rng.choice([p for p in SIZES if p not in asked.last.pictures])
    return last(asked, pictures=(*asked.last.pictures[:slot], other, *asked.last.pictures[slot + 1:]))


@must(CHANGES)
def pictures_exchanged(rng, asked):
    return last(asked, pictures=asked.last.pictures[::-1], masked=()) if (
        len(asked.last.pictures) == 2 and not asked.last.masked) else None


@must(CHANGES)
def another_mask(rng, asked):
    """One more, or one less: a mask of a part is never the same as none."""
    if not asked.last.pictures or asked.last.blank:
        return None
    slot = rng.randrange(len(asked.last.pictures))
    masked = set(asked.last.masked) ^ {slot}
    return last(asked, masked=tuple(sorted(masked)))


@must(CHANGES)
def blanked(rng, asked):
    return last(asked, blank=not asked.last.blank) if asked.last.masked else None


@must(CHANGES)
def a_dot_as_mask(rng, asked):
    """A single pixel, wherever it is."""
    if not asked.last.pictures or asked.last.blank:
        return None
    width, height = SIZES[asked.last.pictures[0]]
    if width > 4 * height or (width, height) == (16, 16):
        return None
    dot = {"black": node("SolidMask", value=0.0, width=width, height=height),
           "pixel": node("SolidMask", value=1.0, width=1, height=1),
           "dot": node("MaskComposite", destination=["black", 0], source=["pixel", 0], x=rng.randrange(width),
                       y=rng.randrange(height), operation="add")}
    asked = last(asked, masked=tuple(i for i in asked.last.masked if i))
    return put(asked, **dot, **widen(asked, f"unit{len(asked.turns) - 1}", mask=["dot", 0]))


@must(CHANGES)
def history_dropped(rng, asked):
    return replace(asked, turns=(asked.last,)) if len(asked.turns) > 1 and "previous" not in asked.last.instruction else None


@must(CHANGES)
def a_smaller_budget(rng, asked):
    return replace(asked, budget=4) if any(w * h > 1024 for p in asked.last.pictures for w, h in [SIZES[p]]) and not (
        asked.width) else None


@must(CHANGES)
def another_target(rng, asked):
    if len(asked.last.pictures) < 2 or asked.width:
        return None
    return replace(asked, target_image=(asked.target_image + 1) % len(asked.last.pictures))


@must(CHANGES)
def a_lora(rng, asked):
    return rewire(asked, ["model", 0], node("LoraLoaderModelOnly", lora_name="soak.safetensors", strength_model=0.8), "model")


@must(CHANGES)
def another_model(rng, asked):
    return put(asked, model=node("ACEEditorLoadModel", model_name="other.safetensors", weight_dtype="default"))


@must(SAME)
def the_same_model_by_another_loader(rng, asked):
    return put(asked, model=node("UNETLoader", unet_name=DIT_1024.name, weight_dtype="default"))


def patch(kind: str, outcome: str = CHANGES, **widgets):
    def change(rng, asked):
        if kind in ("RescaleCFG", "RenormCFG", "VideoLinearCFGGuidance") and asked.guidance <= 1:
            return None
        if kind == "VideoLinearCFGGuidance" and asked.batch < 2 or kind == "RenormCFG" and asked.batch > 1:  # core's limits
            return None
        return rewire(asked, ["model", 0], node(kind, **widgets), "model")
    KINDS[f"{kind} {' '.join(map(str, widgets.values()))}".strip()] = (outcome, change)


patch("RescaleCFG", multiplier=0.7)
patch("RenormCFG", cfg_trunc=100.0, renorm_cfg=0.5)
patch("VideoLinearCFGGuidance", min_cfg=0.5)
patch("ModelSamplingDiscrete", sampling="v_prediction", zsnr=False)
patch("ModelSamplingDiscrete", sampling="lcm", zsnr=False)
patch("ModelSamplingFlux", ANY, max_shift=1.15, base_shift=0.5, width=512, height=512)
patch("ModelSamplingSD3", ANY, shift=3.0)
patch("EasyCache", ANY, reuse_threshold=0.2, start_percent=0.15, end_percent=0.95, verbose=False)
patch("FreeU_V2", ANY, b1=1.3, b2=1.4, s1=0.9, s2=0.2)
patch("PerturbedAttentionGuidance", ANY, scale=3.0)
patch("TomePatchModel", ANY, ratio=0.3)
patch("HyperTile", ANY, tile_size=256, swap_size=2, max_depth=0, scale_depth=False)


@must(CHANGES)
def perp_neg(rng, asked):
    return rewire(asked, ["model", 0], node("PerpNeg", empty_conditioning=["indicator", 0], neg_scale=1.0), "model") if (
        asked.guidance > 1) else None


def on_positive(kind: str, outcome: str = CHANGES, **widgets):
    def change(rng, asked):
        return rewire(asked, ["indicator", 0], node(kind, **widgets), "conditioning") if asked.guidance else None
    KINDS[f"{kind} {' '.join(map(str, widgets.values()))}".strip()] = (outcome, change)


on_positive("ConditioningSetAreaPercentage", width=0.5, height=0.5, x=0.25, y=0.25, strength=1.0)
on_positive("ConditioningSetTimestepRange", start=0.0, end=0.4)
on_positive("ConditioningZeroOut", ANY)


@must(CHANGES)
def mask_bounds(rng, asked):
    half = {"half": node("SolidMask", value=0.0, width=32, height=32), "on": node("SolidMask", value=1.0, width=8, height=16),
            "area": node("MaskComposite", destination=["half", 0], source=["on", 0], x=8, y=8, operation="add")}
    changed = rewire(asked, ["indicator", 0], node("ConditioningSetMask", mask=["area", 0], strength=1.0,
                                                   set_cond_area="mask bounds"), "conditioning")
    return put(changed, **half) if asked.guidance else None


@must(CHANGES)
def a_reference_latent(rng, asked):
    if not asked.last.pictures or not asked.guidance:
        return None
    changed = rewire(asked, ["indicator", 0], node("ReferenceLatent", latent=["extra", 0]), "conditioning")
    return put(changed, extra=node("VAEEncode", pixels=[f"load {asked.last.pictures[0]}", 0], vae=["vae", 0]))


@must(CHANGES)
def a_latent_to_start_from(rng, asked):
    if asked.sampler != "ACE Sampler" or not asked.last.pictures:
        return None
    start = node("VAEEncode", pixels=[f"load {asked.last.pictures[0]}", 0], vae=["vae", 0])
    return put(asked, **widen(asked, "latent", denoise=0.5, latent=["start", 0]), start=start)


@must(REFUSED)
def a_name_without_picture(rng, asked):
    return last(asked, instruction=f"{asked.last.instruction} like {name(len(asked.last.pictures))}")


@must(REFUSED)
def a_mistyped_name(rng, asked):
    return last(asked, instruction=f"{asked.last.instruction} like {rng.choice(['{imgae}', '{image 1}', '{Image}', '{img2}'])}")


@must(REFUSED)
def a_hidden_name(rng, asked):
    return last(asked, instruction=f"{asked.last.instruction} like "
                                   f"{rng.choice(['｛image8｝', '&#123;image8&#125;', '{im' + chr(0) + 'age8}', '{image８}'])}")


@must(REFUSED)
def a_name_in_the_negative(rng, asked):
    return replace(asked, negative="not like {image8}")


@must(REFUSED)
def a_gap_between_pictures(rng, asked):
    return put(asked, **widen(asked, f"unit{len(asked.turns) - 1}", image8=["extra", 0]),
               extra=node("LoadImage", image="a.png"))


@must(REFUSED)
def an_unknown_slot(rng, asked):
    return put(asked, **widen(asked, f"unit{len(asked.turns) - 1}", image9=["extra", 0]),
               extra=node("LoadImage", image="a.png"))


@must(REFUSED)
def a_ninth_reference_of_ace_plus(rng, asked):
    canvas = node("ACEEditorPlusCanvas", width=0, height=0, reference_fit="match height", fill_strength=1.0, token_budget=4096,
                  reference8=["extra", 0])
    return put(asked, extra=node("LoadImage", image="a.png"), canvas=canvas, shown=node("PreviewImage", images=["canvas", 0]))


@must(REFUSED)
def blanking_without_a_mask(rng, asked):
    return last(asked, blank=True, masked=())


@must(REFUSED)
def a_batch_as_picture(rng, asked):
    return rewire(asked, [f"load {asked.last.pictures[0]}", 0], node("RepeatImageBatch", amount=3), "image") if (
        asked.last.pictures) else None


@must(REFUSED)
def a_tiny_picture(rng, asked):
    tiny = node("EmptyImage", width=8, height=8, batch_size=1, color=0)
    return put(asked, **{f"load {asked.last.pictures[0]}": tiny}) if asked.last.pictures else None


@must(REFUSED)
def one_side_only(rng, asked):
    return replace(asked, width=64, height=0)


@must(REFUSED)
def another_vae(rng, asked):
    return put(asked, vae=node("VAELoader", vae_name=FLUX_VAE.name)) if asked.last.pictures else None


@must(REFUSED)
def another_text_encoder(rng, asked):
    return put(asked, clip=node("ACEEditorLoadTextEncoder", text_encoder_name=DEMO_T5, device="default"))


@must(REFUSED)
def another_kind_of_model(rng, asked):
    return put(asked, model=node("UNETLoader", unet_name=FLUX.name, weight_dtype="default"))


@must(REFUSED)
def foreign_conditioning(rng, asked):
    return rewire(asked, ["indicator", 0], node("CLIPTextEncode", clip=["clip", 0], text="a cat"))


@must(REFUSED)
def a_foreign_latent(rng, asked):
    changed = rewire(asked, ["indicator", 2], node("VAEEncode", pixels=["picture", 0], vae=["flux vae", 0]))
    return put(changed, picture=node("LoadImage", image="a.png"), flux_vae=node("VAELoader", vae_name=FLUX_VAE.name))


@must(REFUSED)
def its_conditioning_in_flux(rng, asked):
    return put(asked, model=node("UNETLoader", unet_name=FLUX.name, weight_dtype="default"),
               latent=node("KSampler", model=["model", 0], positive=["indicator", 0], negative=["indicator", 1],
                           latent_image=["indicator", 2], seed=1, steps=1, cfg=1.0, sampler_name="euler", scheduler="simple",
                           denoise=1.0))


def linked(key: str, widget: str, value, sampler: str = ""):
    """A number beyond the widget's limits, over a link, where ComfyUI does not look."""
    def change(rng, asked):
        number = node("PrimitiveInt" if isinstance(value, int) else "PrimitiveFloat", value=value)
        changed = put(asked, **widen(asked, key, **{widget: ["number", 0]}), number=number)
        return changed if sampler in ("", asked.sampler) else None
    KINDS[f"{widget} {value} over a link"] = (REFUSED, change)


for widget, value in (("token_budget", -5), ("width", -16), ("target_image", -1), ("token_budget", 10 ** 9)):
    linked("tokens", widget, value)
for widget, value in (("batch_size", 0), ("batch_size", -1)):
    linked("indicator", widget, value)
for widget, value in (("steps", 2000), ("steps", -1), ("guidance", -1.0), ("rescale", 1.5), ("denoise", 2.0)):
    linked("latent", widget, value, "ACE Sampler")
