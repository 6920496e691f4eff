"""One turn as an API-format graph of the pack's nodes, in the order of the paper's four stages.

    graph = loaders("ace.safetensors", "t5.safetensors", "vae.safetensors")
    graph |= turn("t1", "make {image} night", [["photo", 0]])
    graph |= turn("t2", "{image} as it was in {previous.image}", [["t1 image", 0]], history=["t1 lcu", 0])

Plain dictionaries: nothing here imports ComfyUI. A link is [node id, output number]. With an empty key the nodes are named
`unit`, `lcu`, `tokens`, `indicator`, `latent`, `image`.
"""

from collections.abc import Mapping, Sequence

Link = Sequence  # [node id, output number]
Graph = dict[str, dict]


def name(key: str, part: str) -> str:
    return f"{key} {part}".strip()


def node(kind: str, **inputs) -> dict:
    """One node; inputs: values, or links."""
    return {"class_type": kind, "inputs": inputs}


def loaders(model: str, text_encoder: str, vae: str) -> Graph:
    """Nodes `model`, `clip` and `vae` that load these files."""
    return {"model": node("ACEEditorLoadModel", model_name=model, weight_dtype="default"),
            "clip": node("ACEEditorLoadTextEncoder", text_encoder_name=text_encoder, device="default"),
            "vae": node("VAELoader", vae_name=vae)}


def condition_unit(instruction: str | Link, images: Sequence[Link] = (), masks: Mapping[int, Link] | None = None,
                   blank: bool = False, name_image: bool = False) -> dict:
    """The turn's node. images: in the order of their names `{image}`, `{image1}`, …; masks: by image number."""
    slots = {f"image{i or ''}": list(link) for i, link in enumerate(images)}
    slots |= {f"mask{i or ''}": list(link) for i, link in (masks or {}).items()}
    return node("ACEEditorConditionUnit", instruction=instruction, blank_masked=blank, name_image=name_image, **slots)


def remember(key: str, unit: Link, history: Link | None = None, max_rounds: int = 5) -> Graph:
    """LCU assembly: node `<key> lcu`, the conversation up to this unit."""
    earlier = {"history": list(history)} if history else {}
    return {name(key, "lcu"): node("ACEEditorLongContextUnit", unit=list(unit), max_rounds=max_rounds, **earlier)}


def encode(key: str, lcu: Link, model: Link = ("model", 0), clip: Link = ("clip", 0), vae: Link = ("vae", 0), width: int = 0,
           height: int = 0, target_image: int = 0, token_budget: int = 0, negative: str = "", batch_size: int = 1) -> Graph:
    """Condition tokenizing and image indicator embedding: nodes `<key> tokens`, `<key> indicator`."""
    own = {} if token_budget else {"model": list(model)}  # only to look up the model's own budget
    return {
        name(key, "tokens"): node("ACEEditorConditionTokenizer", lcu=list(lcu), clip=list(clip), vae=list(vae), **own,
                                  negative_instruction=negative, width=width, height=height, target_image=target_image,
                                  token_budget=token_budget),
        name(key, "indicator"): node("ACEEditorImageIndicatorEmbedding", tokens=[name(key, "tokens"), 0],
                                     batch_size=batch_size)}


def sample(key: str, model: Link = ("model", 0), latent: Link | None = None, seed: int = 0, steps: int = 0,
           guidance: float = 4.5, rescale: float = 0.5, denoise: float = 1.0, sampler: str = "euler") -> Graph:
    """Long-context sampling: node `<key> latent`. latent: to start from instead of noise (denoise under 1) · sampler: "euler"
    is the reference's, "lcm" that of LoRAs for few steps; any other of ComfyUI's takes the same schedule and guidance."""
    encoded = name(key, "indicator")
    if sampler not in ("euler", "lcm"):
        return {
            name(key, "guided"): node("ACEEditorGuidance", model=list(model), rescale=rescale),
            name(key, "guider"): node("CFGGuider", model=[name(key, "guided"), 0], positive=[encoded, 0],
                                      negative=[encoded, 1], cfg=guidance),
            name(key, "sigmas"): node("ACEEditorScheduler", model=list(model), steps=steps, denoise=denoise),
            name(key, "sampler"): node("KSamplerSelect", sampler_name=sampler),
            name(key, "noise"): node("RandomNoise", noise_seed=seed),
            name(key, "latent"): node("SamplerCustomAdvanced", noise=[name(key, "noise"), 0], guider=[name(key, "guider"), 0],
                                      sampler=[name(key, "sampler"), 0], sigmas=[name(key, "sigmas"), 0],
                                      latent_image=list(latent or [encoded, 2]))}
    return {name(key, "latent"): node("ACEEditorSampler", model=list(model), positive=[encoded, 0], negative=[encoded, 1],
                                      latent=list(latent or [encoded, 2]), seed=seed, steps=steps, guidance=guidance,
                                      rescale=rescale, denoise=denoise, sampler=sampler)}


def decode(key: str, vae: Link = ("vae", 0)) -> Graph:
    """Node `<key> image`: the picture."""
    return {name(key, "image"): node("VAEDecode", samples=[name(key, "latent"), 0], vae=list(vae))}


def turn(key: str, instruction: str | Link, images: Sequence[Link] = (), masks: Mapping[int, Link] | None = None,
         blank: bool = False, history: Link | None = None, encoding: Mapping | None = None, sampling: Mapping | None = None,
         name_image: bool = False) -> Graph:
    """The whole chain of one turn: `<key> unit`, `lcu`, `tokens`, `indicator`, `latent`, `image`.

    history: the `<key> lcu` of the turn before · encoding, sampling: further arguments of `encode` and `sample` ·
    name_image: put `{image} ` in front of an instruction that names no picture.
    """
    return {name(key, "unit"): condition_unit(instruction, images, masks, blank, name_image),
            **remember(key, [name(key, "unit"), 0], history),
            **encode(key, [name(key, "lcu"), 0], **(encoding or {})),
            **sample(key, **(sampling or {})),
            **decode(key)}
