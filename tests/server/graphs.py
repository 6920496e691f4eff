"""API-format graphs of tiny models, as a page would submit them. Nodes: model, clip, vae, unit0 …, lcu, tokens, indicator,
latent, image."""

from ace_model.comfyui import graph
from ace_model.comfyui.graph import condition_unit as unit
from ace_model.comfyui.graph import node, remember

STEPS, GUIDANCE, RESCALE, SEED = 4, 4.5, 0.5, 7


def loaders(model="ace_tiny.safetensors", text_encoder="t5_tiny.safetensors", vae="taesd_tiny.safetensors"):
    return graph.loaders(model, text_encoder, vae)


def picture(name):
    return {f"load {name}": node("LoadImage", image=name)}


def mask(name="mask.png"):
    return {f"mask {name}": node("LoadImageMask", image=name, channel="red")}


def conversation(*turns, blank=False):
    """Each turn: (instruction, [picture names], {slot: mask name}); the last lcu is node `lcu`."""
    out, history = {}, None
    for i, (instruction, pictures, masks) in enumerate(turns):
        for name in pictures:
            out |= picture(name)
        for name in masks.values():
            out |= mask(name)
        last = i == len(turns) - 1
        out[f"unit{i}"] = unit(instruction, [[f"load {name}", 0] for name in pictures],
                               {slot: [f"mask {name}", 0] for slot, name in masks.items()}, blank and last)
        key = "" if last else f"earlier {i}"
        out |= remember(key, [f"unit{i}", 0], history)
        history = [f"{key} lcu", 0]
    return out


def tokens(width=0, height=0, target_image=0, budget=1024, negative="", batch=1):
    return graph.encode("", ["lcu", 0], width=width, height=height, target_image=target_image, token_budget=budget,
                        negative=negative, batch_size=batch)


def ace_sampler(model="model", steps=STEPS, guidance=GUIDANCE, rescale=RESCALE, denoise=1.0, latent=("indicator", 2)):
    return graph.sample("", [model, 0], latent, SEED, steps, guidance, rescale, denoise)


def ksampler(model="model", guided=True, steps=STEPS):
    """Core's KSampler; its `simple` scheduler gives the trailing timesteps when the steps divide 1000."""
    return {
        "guidance": node("ACEEditorGuidance", model=[model, 0], rescale=RESCALE),
        "latent": node("KSampler", model=["guidance" if guided else model, 0], positive=["indicator", 0],
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
        "latent": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["euler", 0],
                       sigmas=["sigmas", 0], latent_image=["indicator", 2]),
    }


def save(source="latent"):
    return {"save": node("SaveLatent", samples=[source, 0], filename_prefix="test")}


def show():
    return graph.decode("") | {"shown": node("SaveImage", images=["image", 0], filename_prefix="test")}


SAMPLERS = {"ACE Sampler": ace_sampler, "KSampler": ksampler, "SamplerCustomAdvanced": custom_advanced}


def edit(turns=(("{image} make it blue", ["a.png"], {}),), sampler="ACE Sampler", **options):
    """A whole request: loaders, conversation, tokens, sampler, latent saved."""
    return {**loaders(), **conversation(*turns), **tokens(**options), **SAMPLERS[sampler](), **save()}
