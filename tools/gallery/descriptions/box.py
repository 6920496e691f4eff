"""The subgraph blueprint "ACE Edit": one whole turn, from instruction and images to the picture."""

from ace_model.comfyui.graph import turn

from ..subgraph import Subgraph

DESCRIPTION = ("Edits pictures by instruction. Refer to them as {image}, {image1}, {image2}. Connect model, clip and vae. To "
               "continue the conversation, connect lcu to history of the next box.")
IMAGES = ("image", "image1", "image2")
WIDGETS = {"instruction": "STRING", "blank_masked": "BOOLEAN", "width": "INT", "height": "INT", "seed": "INT", "steps": "INT",
           "guidance": "FLOAT"}
ALIASES = ["ACE", "instruction edit", "edit image", "image editing", "inpaint", "multi-turn"]


def ace_edit() -> Subgraph:
    box = Subgraph("ACE Edit", DESCRIPTION)
    takes = {name: box.take(name, name.upper()) for name in ("model", "clip", "vae")}
    takes |= {name: box.take(name, "IMAGE", optional=True) for name in IMAGES}
    takes |= {"mask": box.take("mask", "MASK", optional=True)}
    takes |= {"history": box.take("history", "ACE_LONG_CONTEXT_UNIT", optional=True)}
    for name, kind in WIDGETS.items():
        takes[name] = box.take(name, kind)
    link = {name: [name, 0] for name in takes}
    graph = turn("turn", link["instruction"], [link[name] for name in IMAGES], {0: link["mask"]}, link["blank_masked"],
                 link["history"], {name: link[name] for name in ("width", "height")},
                 {name: link[name] for name in ("seed", "steps", "guidance")})
    nodes = box.add_graph(graph, takes)
    box.give("IMAGE", nodes["turn image"])
    box.give("lcu", nodes["turn lcu"])
    return box
