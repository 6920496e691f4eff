"""API-format graphs, as a page would submit them."""

STEPS, GUIDANCE, RESCALE, SEED = 4, 4.5, 0.5, 7


def node(kind, **inputs):
    return {"class_type": kind, "inputs": {key.replace("__", "."): value for key, value in inputs.items()}}


def loaders(model="ace_tiny.safetensors", text_encoder="t5_tiny.safetensors", vae="taesd_tiny.safetensors"):
    return {
        "model": node("ACEEditorLoadModel", model_name=model, weight_dtype="default"),
        "clip": node("ACEEditorLoadTextEncoder", text_encoder_name=text_encoder, device="default"),
        "vae": node("VAELoader", vae_name=vae),
    }


def picture(name):
    return {f"load {name}": node("LoadImage", image=name)}


def mask(name="mask.png"):
    return {f"mask {name}": node("LoadImageMask", image=name, channel="red")}


def unit(instruction, images=(), masks=None, blank=False, name_image=False):
    """images: links; masks: {slot number: link}."""
    inputs = {f"images__image{i or ''}": link for i, link in enumerate(images)}
    inputs |= {f"masks__mask{i or ''}": link for i, link in (masks or {}).items()}
    return node("ACEEditorConditionUnit", instruction=instruction, blank_masked=blank, name_image=name_image, **inputs)


def lcu(unit_id, history=None, max_rounds=5):
    extra = {"history": [history, 0]} if history else {}
    return node("ACEEditorLongContextUnit", unit=[unit_id, 0], max_rounds=max_rounds, **extra)


def conversation(*turns, blank=False):
    """Each turn: (instruction, [picture names], {slot: mask name}); the last lcu is node `lcu`."""
    graph, history = {}, None
    for i, (instruction, pictures, masks) in enumerate(turns):
        for name in pictures:
            graph |= picture(name)
        for name in masks.values():
            graph |= mask(name)
        last = i == len(turns) - 1
        graph[f"unit{i}"] = unit(instruction, [[f"load {name}", 0] for name in pictures],
                                 {slot: [f"mask {name}", 0] for slot, name in masks.items()}, blank and last)
        graph["lcu" if last else f"lcu{i}"] = lcu(f"unit{i}", history)
        history = f"lcu{i}"
    return graph


def tokens(width=0, height=0, target_image=0, budget=1024, negative="", batch=1):
    return {
        "tokens": node("ACEEditorConditionTokenizer", lcu=["lcu", 0], clip=["clip", 0], vae=["vae", 0], width=width,
                       height=height, target_image=target_image, token_budget=budget, negative_instruction=negative),
        "indicator": node("ACEEditorImageIndicator", tokens=["tokens", 0], clip=["clip", 0], batch_size=batch),
    }


def ace_sampler(model="model", steps=STEPS, guidance=GUIDANCE, rescale=RESCALE, denoise=1.0, latent=("indicator", 2)):
    return {"sample": node("ACEEditorSampler", model=[model, 0], positive=["indicator", 0], negative=["indicator", 1],
                           latent=list(latent), seed=SEED, steps=steps, guidance=guidance, rescale=rescale, denoise=denoise)}


def ksampler(model="model", guided=True, steps=STEPS):
    """Core's KSampler; its `simple` scheduler gives the trailing timesteps when the steps divide 1000."""
    return {
        "guidance": node("ACEEditorGuidance", model=[model, 0], rescale=RESCALE),
        "sample": node("KSampler", model=["guidance" if guided else model, 0], positive=["indicator", 0],
                       negative=["indicator", 1], latent_image=["indicator", 2], seed=SEED, steps=steps, cfg=GUIDANCE,
                       sampler_name="euler", scheduler="simple", denoise=1.0),
    }


def custom_advanced(model="model"):
    return {
        "guidance": node("ACEEditorGuidance", model=[model, 0], rescale=RESCALE),
        "guider": node("CFGGuider", model=["guidance", 0], positive=["indicator", 0], negative=["indicator", 1], cfg=GUIDANCE),
        "sigmas": node("ACEEditorScheduler", model=[model, 0], steps=STEPS, denoise=1.0),
        "noise": node("RandomNoise", noise_seed=SEED),
        "euler": node("KSamplerSelect", sampler_name="euler"),
        "sample": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["euler", 0],
                       sigmas=["sigmas", 0], latent_image=["indicator", 2]),
    }


def save(source="sample"):
    return {"save": node("SaveLatent", samples=[source, 0], filename_prefix="test")}


def show():
    return {"decode": node("VAEDecode", samples=["sample", 0], vae=["vae", 0]),
            "image": node("SaveImage", images=["decode", 0], filename_prefix="test")}


SAMPLERS = {"ACE Sampler": ace_sampler, "KSampler": ksampler, "SamplerCustomAdvanced": custom_advanced}


def edit(turns=(("{image} make it blue", ["a.png"], {}),), sampler="ACE Sampler", **options):
    """A whole request: loaders, conversation, tokens, sampler, latent saved."""
    return {**loaders(), **conversation(*turns), **tokens(**options), **SAMPLERS[sampler](), **save()}
