"""The subgraph blueprint "ACE Edit": one turn, from instruction and images to picture."""

from ..subgraph import Subgraph

DESCRIPTION = ("Edit pictures by an instruction that names them: {image}, {image1}, {image2}. Connect model, clip and vae; "
               "connect lcu to history of the next box to go on with the conversation.")
ALIASES = ["ACE", "instruction edit", "edit image", "image editing", "inpaint", "multi-turn"]


def ace_edit() -> Subgraph:
    box = Subgraph("ACE Edit", DESCRIPTION)
    model, clip, vae = (box.take(name, name.upper()) for name in ("model", "clip", "vae"))
    images = [box.take(name, "IMAGE", optional=True) for name in ("image", "image1", "image2")]
    mask = box.take("mask", "MASK", optional=True)
    history = box.take("history", "ACE_LONG_CONTEXT_UNIT", optional=True)
    instruction = box.take("instruction", "STRING")
    blank = box.take("blank_masked", "BOOLEAN")
    width, height = box.take("width", "INT"), box.take("height", "INT")
    seed, steps, guidance = box.take("seed", "INT"), box.take("steps", "INT"), box.take("guidance", "FLOAT")

    unit = box.add("ACEEditorConditionUnit", images=images, masks=[mask], instruction=instruction, blank_masked=blank)
    lcu = box.add("ACEEditorLongContextUnit", unit=unit, history=history)
    tokens = box.add("ACEEditorConditionTokenizer", lcu=lcu, clip=clip, vae=vae, width=width, height=height)
    indicator = box.add("ACEEditorImageIndicator", tokens=tokens, clip=clip)
    sampler = box.add("ACEEditorSampler", model=model, positive=indicator["positive"], negative=indicator["negative"],
                      latent=indicator["latent"], seed=seed, steps=steps, guidance=guidance)
    box.give("IMAGE", box.add("VAEDecode", samples=sampler, vae=vae))
    box.give("lcu", lcu)
    return box
