"""The pack's boxes (subgraph blueprints): one turn each, with its loaders inside and their files chosen on the box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ace_model.comfyui import graph

from ..graph import Node, Output
from ..models import (
    CLIP_L,
    DEMO_DIT,
    DEMO_FAST,
    DEMO_T5,
    DEMO_VAE,
    DIT,
    FFT,
    FILL,
    FLUX,
    FLUX_VAE,
    LOCAL,
    PORTRAIT,
    REDUX,
    SAM,
    SIGLIP,
    SUBJECT,
    T5,
    UPSCALER,
    VAE,
    Model,
)
from ..subgraph import Subgraph

FILES = ("model_name", "text_encoder_name", "vae_name")
IMAGES = ("image", "image1", "image2")
ACE = (DIT.name, T5.name, VAE.name)
QUALITY = "high resolution, sharpness, clarity, detail enhancement, noise reduction, HD, 4k, image restoration, HDR"  # theirs


def load(box: Subgraph, files: Sequence[str] = ACE) -> dict[str, Node]:
    """ACE's three loaders, their files widgets of the box."""
    names = {name: box.take(name, "COMBO", value=file) for name, file in zip(FILES, files, strict=True)}
    return {"model": box.add("ACEEditorLoadModel", model_name=names["model_name"]),
            "clip": box.add("ACEEditorLoadTextEncoder", text_encoder_name=names["text_encoder_name"]),
            "vae": box.add("VAELoader", vae_name=names["vae_name"])}


def turn(box: Subgraph, given: dict[str, Output | Node], images: Sequence[str] = (), mask: bool = False, blank: bool = False,
         encoding: Sequence[str] = (), history: bool = False, paste: dict[str, Output | Node] | None = None,
         finish: Callable[[Node], Node] | None = None, sampling: dict[str, Any] | None = None) -> None:
    """One turn inside a box, answer and conversation given out. given: `instruction`, `seed`, `guidance`, models, pictures and
    what `encoding` and `sampling` name · paste: inputs of ACE Keep Untouched; by default the first picture and
    its mask, if there is one · finish: what happens to the answer before it is pasted · sampling: instead of `guidance`, names
    in given, or values."""
    link = {name: [name, 0] for name in given}
    chain = graph.turn("turn", link["instruction"], [link[name] for name in images], {0: link["mask"]} if mask else None, blank,
                       link["history"] if history else None, {name: link[name] for name in encoding},
                       {name: link.get(value, value) for name, value in (sampling or {"guidance": "guidance"}).items()} | {
                           "seed": link["seed"]}, name_image=True)
    nodes = box.add_graph(chain, given)
    answer = nodes["turn image"]
    if finish:
        answer = finish(answer)
    if mask:
        answer = box.add("ACEEditorKeepUntouched", result=answer,
                         **(paste or {"original": given["image"], "mask": given["mask"]}))
    packed = box.add("ACEEditorPackConversation", image=answer, lcu=nodes["turn lcu"],
                     **{name: given[name] for name in ("model", "clip", "vae")})
    box.give("image", answer)
    box.give("conversation", packed)


def asked(box: Subgraph, text: str = "{image} ") -> dict[str, Output]:
    """What every turn asks for on its box."""
    return {"instruction": box.take("instruction", "STRING", value=text), "seed": box.take("seed", "INT"),
            "guidance": box.take("guidance", "FLOAT", value=4.5)}


def edit() -> Subgraph:
    box = Subgraph("Image Edit (ACE)", 1, "Edits a picture by an instruction. Refer to the pictures as {image}, {image1} and "
                   "{image2}. With a mask, everything farther than 16 pixels from it stays as it was.",
                   ("ACE", "edit image", "image editing", "instruct", "instruction edit", "style transfer", "remove object",
                    "add object", "replace object", "multi-turn", "chat edit"))
    given = {"image": box.take("image", "IMAGE"), "mask": box.take("mask", "MASK")}
    given |= {name: box.take(name, "IMAGE") for name in IMAGES[1:]}
    turn(box, given | asked(box) | load(box), IMAGES, mask=True)
    return box


def fast_edit() -> Subgraph:
    """The LoRA is for this turn alone: turns that go on from it are sampled in full, and with it they would burn out."""
    box = Subgraph("Fast Edit (ACE)", 16, "Edits a picture in four passes through the model instead of forty, with a LoRA that "
                   "was made for few steps. The one on the box is the demo model's. Turns that follow are not fast.",
                   ("ACE", "edit image", "fast", "few steps", "LCM", "turbo", "lightning", "4 steps"))
    given = {"image": box.take("image", "IMAGE"), "mask": box.take("mask", "MASK")}
    given |= {name: box.take(name, "IMAGE") for name in IMAGES[1:]}
    given |= {"instruction": box.take("instruction", "STRING", value="{image} "), "seed": box.take("seed", "INT"),
              "steps": box.take("steps", "INT", value=4)}
    given |= load(box, (DEMO_DIT, DEMO_T5, DEMO_VAE))
    given["fast"] = box.add("LoraLoaderModelOnly", model=given["model"],
                            lora_name=box.take("lora_name", "COMBO", value=DEMO_FAST))
    turn(box, given, IMAGES, mask=True, sampling={"model": "fast", "steps": "steps", "guidance": 1.0, "sampler": "lcm"})
    return box


def text_to_image() -> Subgraph:
    box = Subgraph("Text to Image (ACE)", 2, "Makes a picture from words alone.", ("ACE", "text to image", "t2i", "generate"))
    given = asked(box, "") | {side: box.take(side, "INT", value=512) for side in ("width", "height")}
    turn(box, given | load(box), encoding=("width", "height"))
    return box


def inpaint() -> Subgraph:
    box = Subgraph("Inpaint (ACE)", 3, "Repaints the masked part of a picture. The model does not see what was there before; "
                   "everything farther than 16 pixels from the mask stays as it was. For try-on, connect the garment to "
                   "image1.",
                   ("ACE", "inpaint", "fill", "repaint", "try-on", "virtual try on", "object removal"))
    given = {"image": box.take("image", "IMAGE"), "mask": box.take("mask", "MASK"),
             "image1": box.take("image1", "IMAGE")}
    turn(box, given | asked(box) | load(box), ("image", "image1"), mask=True, blank=True)
    return box


def detail() -> Subgraph:
    box = Subgraph("Detail Edit (ACE)", 12, "Edits the masked part of a large picture in full sharpness: only the "
                   "surroundings of the mask pass through the model.",
                   ("ACE", "inpaint crop", "crop and stitch", "detailer", "large picture"))
    whole = {"image": box.take("image", "IMAGE"), "mask": box.take("mask", "MASK")}
    given = asked(box) | {"margin": box.take("margin", "FLOAT", value=0.5)} | load(box)
    crop = box.add("ACEEditorCropAroundMask", **whole, margin=given.pop("margin"))
    turn(box, given | {"image": crop["image"], "mask": crop["mask"]}, ("image",), mask=True,
         paste={"original": whole["image"], "mask": whole["mask"], "window": crop["window"]})
    return box


def full_size() -> Subgraph:
    box = Subgraph("Full-size Edit (ACE)", 14, "Edits a large picture and brings the answer back to its size with an upscale "
                   "model. With a mask, everything farther than 16 pixels from it stays as it was.",
                   ("ACE", "edit image", "upscale", "large picture", "original size", "high resolution"))
    given = {"image": box.take("image", "IMAGE"), "mask": box.take("mask", "MASK")} | asked(box)
    upscaler = box.add("UpscaleModelLoader", model_name=box.take("upscale_model_name", "COMBO", value=UPSCALER.name))

    def enlarge(answer: Node) -> Node:
        large = box.add("ImageUpscaleWithModel", upscale_model=upscaler, image=answer)
        size = box.add("GetImageSize", image=given["image"])
        return box.add("ImageScale", image=large, width=size["width"], height=size["height"], upscale_method="lanczos",
                       crop="disabled")

    turn(box, given | load(box), ("image",), mask=True, finish=enlarge)
    return box


def outpaint() -> Subgraph:
    box = Subgraph("Outpaint (ACE)", 4, "Continues a picture beyond its borders. left to bottom are fractions of its width and "
                   "height.", ("ACE", "outpaint", "extend image", "uncrop", "expand canvas"))
    picture = box.take("image", "IMAGE")
    room = {side: box.take(side, "FLOAT", value=0.25) for side in ("left", "top", "right", "bottom")}
    given = asked(box) | load(box)
    padded = box.add("ACEEditorPadForOutpainting", image=picture, model=given["model"], **room)
    turn(box, given | {"image": padded["image"], "mask": padded["mask"]}, ("image",), mask=True, blank=True)
    return box


def reference() -> Subgraph:
    box = Subgraph("Reference (ACE)", 5, "Makes a new picture from up to three reference pictures. Refer to them as {image}, "
                   "{image1} and {image2}.", ("ACE", "reference", "subject", "face", "multi-reference", "ip-adapter"))
    given = {name: box.take(name, "IMAGE") for name in IMAGES}
    given |= asked(box) | {side: box.take(side, "INT", value=512) for side in ("width", "height")}
    turn(box, given | load(box), IMAGES, encoding=("width", "height"))
    return box


def analyze() -> Subgraph:
    box = Subgraph("Analyze (ACE)", 6, "Turns a picture into a map: depth, edges, segmentation, pose, contours and "
                   "more. Pick it as task.",
                   ("ACE", "depth map", "edge detection", "segmentation", "pose", "canny", "preprocessor"))
    given = {"image": box.take("image", "IMAGE")}
    task, what = box.take("task", "COMBO", value="Analysis: depth"), box.take("what", "STRING")
    given["instruction"] = box.add("ACEEditorInstruction", task=task, what=what)
    given |= {"seed": box.take("seed", "INT"), "guidance": box.take("guidance", "FLOAT", value=4.5)}
    turn(box, given | load(box), ("image",))
    return box


def next_turn() -> Subgraph:
    box = Subgraph("Next Turn (ACE)", 7, "Goes on with a conversation: {image} is the last answer, {previous.image} the "
                   "picture of the turn before. The models come with the conversation.",
                   ("ACE", "chat edit", "multi-turn", "continue", "conversation", "history"))
    wire = box.take("conversation", "ACE_CONVERSATION")
    before = box.add("ACEEditorUnpackConversation", conversation=wire)
    given = {name: before[name] for name in ("image", "history", "model", "clip", "vae")}
    given |= {"mask": box.take("mask", "MASK"), "image1": box.take("image1", "IMAGE")}
    turn(box, given | asked(box), ("image", "image1"), mask=True, history=True)
    return box


def mask_from_words() -> Subgraph:
    """No ACE inside: core's SAM 3 finds what the words name. Points are typed, for core has no node to click them with."""
    box = Subgraph("Mask from Words (SAM 3)", 13, "Finds what the words name in a picture and makes a mask of it. Points find "
                   "what lies there.", ("ACE", "segment anything", "sam3", "select object", "mask from text", "text to mask",
                                        "click"))
    image, words = box.take("image", "IMAGE"), box.take("words", "STRING", value="")
    points = box.add("PrimitiveString", value=box.take("points", "STRING", value=""))
    threshold, grow = box.take("threshold", "FLOAT", value=0.5), box.take("grow", "INT", value=4)
    sam = box.add("CheckpointLoaderSimple", ckpt_name=box.take("ckpt_name", "COMBO", value=SAM.name))
    named = box.add("CLIPTextEncode", clip=sam["CLIP"], text=words)
    found = box.add("SAM3_Detect", model=sam["MODEL"], image=image, conditioning=named, positive_coords=points,
                    threshold=threshold)
    box.give("mask", box.add("GrowMask", mask=found["masks"], expand=grow))
    return box


def enlarged(box: Subgraph, picture: Output) -> dict[str, Output]:
    """Width and height as the authors' refiner has them: 4096 tokens if the picture is smaller, in multiples of 16.

    The thousandth keeps 1024 from becoming 1023.9999.
    """
    size, out = box.add("GetImageSize", image=picture), {}
    for side, other in (("width", "height"), ("height", "width")):
        out[side] = box.add("ComfyMathExpression", title=f"New {side}",
                            expression=f"int(a * max(1, sqrt({1024**2} / (a * b))) + 0.001) // 16 * 16",
                            **{"values.a": size[side], "values.b": size[other]})["INT"]
    return out


def refine() -> Subgraph:
    box = Subgraph("Refine with FLUX (ACE)", 8, "Sharpens a picture: enlarges it to a megapixel if it is smaller, adds "
                   "a little noise and lets FLUX.1-dev remove it.",
                   ("ACE", "refiner", "sharpen", "upscale", "sdedit", "enhance"))
    picture = box.take("image", "IMAGE")
    text, denoise = box.take("text", "STRING", value=QUALITY), box.take("denoise", "FLOAT", value=0.2)
    seed = box.take("seed", "INT")
    model = box.add("UNETLoader", unet_name=box.take("unet_name", "COMBO", value=FLUX.name), weight_dtype="default")
    clip = box.add("DualCLIPLoader", clip_name1=CLIP_L.name, clip_name2=box.take("clip_name", "COMBO", value=T5.name),
                   type="flux", device="default")
    vae = box.add("VAELoader", vae_name=box.take("vae_name", "COMBO", value=FLUX_VAE.name))
    large = box.add("ImageScale", image=picture, upscale_method="lanczos", crop="disabled", **enlarged(box, picture))
    positive = box.add("FluxGuidance", conditioning=box.add("CLIPTextEncode", clip=clip, text=text), guidance=3.5)
    latent = box.add("SamplerCustomAdvanced", noise=box.add("RandomNoise", noise_seed=seed),
                     guider=box.add("BasicGuider", model=model, conditioning=positive),
                     sampler=box.add("KSamplerSelect", sampler_name="euler"),
                     sigmas=box.add("BasicScheduler", model=model, scheduler="simple", steps=30, denoise=denoise),
                     latent_image=box.add("VAEEncode", pixels=large, vae=vae))
    box.give("image", box.add("VAEDecode", samples=latent["output"], vae=vae))
    return box


def plus(title: str, number: int, about: str, aliases: Sequence[str], lora: Model | None, pictures: Sequence[str],
         fit: str = "match height", redux: bool = False) -> Subgraph:
    """ACE++: FLUX.1-Fill with a LoRA, or the full fine-tune. pictures: any of them may be left out, but not all · redux: the
    text is joined by what Redux sees in the reference."""
    box = Subgraph(title, number, about, ("ACE++", "ACE plus", *aliases))
    given = {name: box.take(name, "IMAGE") for name in pictures}
    given["mask"] = box.take("mask", "MASK")
    text = box.take("instruction", "STRING", value="")
    sizes = {name: box.take(name, "INT", value=0) for name in ("width", "height")}
    fill, seed = box.take("fill_strength", "FLOAT", value=1.0), box.take("seed", "INT")
    model = box.add("UNETLoader", unet_name=box.take("unet_name", "COMBO", value=FILL.name if lora else FFT.name),
                    weight_dtype="default")
    if lora:
        model = box.add("LoraLoaderModelOnly", model=model, lora_name=box.take("lora_name", "COMBO", value=lora.name))
    clip = box.add("DualCLIPLoader", clip_name1=CLIP_L.name, clip_name2=box.take("clip_name", "COMBO", value=T5.name),
                   type="flux", device="default")
    vae = box.add("VAELoader", vae_name=box.take("vae_name", "COMBO", value=FLUX_VAE.name))
    positive = text = box.add("ACEEditorPlusTextEncode", clip=clip, text=text)
    if redux:
        positive = seen_by_redux(box, text, given["reference"])
    laid = box.add("ACEEditorPlusCanvas", fill_strength=fill, reference_fit=fit, token_budget=6144 if lora else 3072, **given,
                   **sizes)
    shifted = box.add("ModelSamplingFlux", model=model, width=laid["width"], height=laid["height"])
    cond = box.add("ACEEditorPlusConditioning", model=shifted, positive=positive, vae=vae, canvas=laid["canvas"],
                   mask=laid["mask"], negative=box.add("ConditioningZeroOut", conditioning=text))
    latent = box.add("KSampler", model=shifted, positive=cond["positive"], negative=cond["negative"], cfg=1.0, steps=28,
                     latent_image=cond["latent"], seed=seed, sampler_name="euler", scheduler="simple", denoise=1.0)
    crop = box.add("ACEEditorPlusCropResult", image=box.add("VAEDecode", samples=latent, vae=vae), layout=laid["layout"])
    box.give("image", box.add("ACEEditorKeepUntouched", original=given["image"], result=crop["image"], mask=given["mask"],
                              window=crop["window"]))
    return box


def seen_by_redux(box: Subgraph, text: Node, reference: Output) -> Node:
    """The text with what Redux sees in the reference; strength and its type are widgets of the box."""
    strength, kind = box.take("redux_strength", "FLOAT", value=0.2), box.take("strength_type", "COMBO", value="attn_bias")
    style = box.add("StyleModelLoader", style_model_name=box.take("style_model_name", "COMBO", value=REDUX.name))
    eyes = box.add("CLIPVisionLoader", clip_name=box.take("clip_vision_name", "COMBO", value=SIGLIP.name))
    seen = box.add("CLIPVisionEncode", clip_vision=eyes, image=reference, crop="center")
    return box.add("StyleModelApply", conditioning=text, style_model=style, clip_vision_output=seen, strength=strength,
                   strength_type=kind)


def teach() -> Subgraph:
    """The two types are float32: in bf16 small steps of the LoRA's weights round to nothing, and so does a picture under the
    noise of the first timesteps. checkpoint_depth 2 is the blocks; at 1, core's default, no memory is saved."""
    box = Subgraph("Teach (ACE)", 17, "Learns from a folder of examples, with core's Train LoRA, and gives out the model that "
                   "knows them. strength 0 is the model as it was.",
                   ("ACE", "train LoRA", "fine-tune", "subject", "dreambooth", "teach", "learn"))
    names = {name: box.take(name, kind, value=value) for name, kind, value in (
        ("examples", "COMBO", "my subject"), ("steps", "INT", 500), ("learning_rate", "FLOAT", 5e-4), ("rank", "INT", 8),
        ("seed", "INT", None), ("strength", "FLOAT", 1.0))}
    models = load(box)
    examples = box.add("ACEEditorTrainingExamples", examples=names["examples"], **models)
    trained = box.add("TrainLoraNode", model=models["model"], latents=examples["latents"], positive=examples["positive"],
                      optimizer="AdamW", loss_function="MSE", training_dtype="fp32", lora_dtype="fp32", algorithm="LoRA",
                      checkpoint_depth=2, existing_lora="[None]",
                      **{name: names[name] for name in ("steps", "learning_rate", "rank", "seed")})
    taught = box.add("LoraModelLoader", model=models["model"], lora=trained["lora"], strength_model=names["strength"])
    for name, output in (models | {"model": taught, "lora": trained["lora"], "steps": trained["steps"]}).items():
        box.give(name, output)
    return box


def ask() -> Subgraph:
    box = Subgraph("Ask (ACE)", 18, "One turn with models that you connect, such as a taught one: makes a picture from words, "
                   "or edits the picture that you connect. Width and height 0: those of the picture.",
                   ("ACE", "own model", "LoRA", "text to image", "edit image"))
    given = {name: box.take(name, name.upper()) for name in ("model", "clip", "vae", "image")}
    given |= asked(box, "") | {side: box.take(side, "INT", value=512) for side in ("width", "height")}
    turn(box, given, ("image",), encoding=("width", "height"))
    return box


EDIT, TEXT_TO_IMAGE, INPAINT, OUTPAINT, DETAIL = edit(), text_to_image(), inpaint(), outpaint(), detail()
FAST_EDIT = fast_edit()
REFERENCE, ANALYZE, NEXT_TURN, REFINE = reference(), analyze(), next_turn(), refine()
MASK_FROM_WORDS, FULL_SIZE, TEACH, ASK = mask_from_words(), full_size(), teach(), ask()
PLUS_REFERENCE = plus(
    "Reference Edit (ACE++)", 9, "Makes a picture that takes after the reference, or, with an image and a mask, puts the "
    "reference into the image there.", ("reference", "subject", "portrait", "try-on", "face swap", "place object"), SUBJECT,
    ("reference", "reference1", "image"))
PLUS_LOCAL = plus("Local Edit (ACE++)", 10, "Changes a picture under its mask.", ("inpaint", "local edit", "repaint"), LOCAL,
                  ("image",))
PLUS_FFT = plus("Image Edit (ACE++ FFT)", 11, "Repaints a picture after what it shows, or under its mask; with a reference, "
                "also after that. A reference alone makes a new picture.",
                ("upscale", "super-resolution", "recolor", "depth", "contour", "repaint", "reference"), None,
                ("image", "reference"), "keep size")
PLUS_REDUX = plus("Reference Edit with Redux (ACE++)", 15, "Makes a picture that takes after the reference, which Redux looks "
                  "at too, or, with an image and a mask, puts the reference into the image there.",
                  ("redux", "reference", "portrait", "try-on", "logo"), PORTRAIT, ("reference", "image"), redux=True)
BOXES = (EDIT, FAST_EDIT, TEXT_TO_IMAGE, INPAINT, OUTPAINT, DETAIL, FULL_SIZE, REFERENCE, ANALYZE, NEXT_TURN, REFINE,
         MASK_FROM_WORDS, TEACH, ASK, PLUS_REFERENCE, PLUS_REDUX, PLUS_LOCAL, PLUS_FFT)
