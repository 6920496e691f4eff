"""Everything that touches ComfyUI: model management, T5 and VAE, conditioning, sampling.

    graph         one turn as an API-format graph of the pack's nodes; needs no ComfyUI
    model         ComfyUI's view of the network: conds, memory, hooks of other packs
    loader        weight files → MODEL and CLIP; recognition by core's own loaders
    text          CLIP → T5 features of instructions and image names
    conditioning  LCU + CLIP + VAE → condition tokens → CONDITIONING
    sampling      the reference's schedule and guidance for core's samplers
    probe         the error of a MODEL's predicted noise, where the answer is known
    headless      ComfyUI in a Python of one's own, without its server
    plus          ACE++ on core's Flux: conditioning, recognition of the full fine-tune
    flux          core's Flux as a module that can be trained

Importing this package changes nothing in ComfyUI; `register` does, once.
"""


def register() -> None:
    """Make core's loaders recognize ACE and ACE++ files, and list the demo model. Calling it again changes nothing."""
    from . import loader, plus

    loader.register()
    plus.register()
