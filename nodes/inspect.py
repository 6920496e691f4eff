"""What the model receives, drawn."""

import torch
from comfy_api.latest import io

from ..ace_model import diffusion
from ..ace_model.comfyui import sampling
from ..ace_model.comfyui import text as t5
from ..ace_model.comfyui.attention import Watch
from ..ace_model.comfyui.conditioning import as_lcu, conditioning, empty_latent, prepare, tokenize
from ..ace_model.comfyui.loader import defaults_of
from ..ace_model.drawing import Card, draw, words_in
from ..ace_model.errors import InputError
from ..ace_model.images import TOKEN
from ..ace_model.lcu import MAX_IMAGES, placeholder
from ..ace_model.masks import resample
from ..ace_model.text import clean, truncate
from .sample import RESCALE_TOOLTIP, STEPS_TOOLTIP
from .types import BUDGET_TOOLTIP, CATEGORY, MODEL_TOOLTIP, ConditionUnitType, LongContextUnitType, within_limits


class InspectorError(InputError):
    """An input that the inspector lacks."""


class InspectorNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorInspector",
            display_name="ACE Inspector",
            category=CATEGORY,
            description="Draws a turn or a conversation as the model receives it: frames, masks, names, tokens. With attention "
                        "on, it also draws where each word looks.",
            search_aliases=["ACE attention", "attention map", "LCU viewer", "what the model sees", "debug"],
            inputs=[
                io.MultiType.Input("lcu", [LongContextUnitType, ConditionUnitType],
                                   tooltip="The conversation from ACE Long-context Unit, or a single turn."),
                io.Clip.Input("clip", tooltip="The text encoder, for its tokens."),
                io.Model.Input("model", optional=True, tooltip=f"Needed for attention. {MODEL_TOOLTIP}"),
                io.Vae.Input("vae", optional=True, tooltip="Needed for attention."),
                io.Boolean.Input("attention", default=False,
                                 tooltip="Sample once more with the settings below, and draw what the model looks at. With the "
                                         "settings of your sampler, it is the attention behind your picture."),
                io.String.Input("negative_instruction", multiline=True, dynamic_prompts=False, default="", advanced=True,
                                tooltip="As on ACE Condition Tokenizer."),
                io.Int.Input("width", default=0, min=0, max=4096, step=16, tooltip="As on ACE Condition Tokenizer."),
                io.Int.Input("height", default=0, min=0, max=4096, step=16, tooltip="As on ACE Condition Tokenizer."),
                io.Int.Input("target_image", default=0, min=0, max=MAX_IMAGES - 1, advanced=True,
                             tooltip="As on ACE Condition Tokenizer."),
                io.Int.Input("token_budget", default=0, min=0, max=16384, step=16, tooltip=BUDGET_TOOLTIP),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, tooltip="As on your sampler."),
                io.Int.Input("steps", default=0, min=0, max=1000, tooltip=STEPS_TOOLTIP),
                io.Float.Input("guidance", default=diffusion.GUIDANCE, min=0.0, max=100.0, step=0.1, round=0.01,
                               tooltip="As on your sampler."),
                io.Float.Input("rescale", default=diffusion.RESCALE, min=0.0, max=1.0, step=0.05, round=0.01,
                               tooltip=RESCALE_TOOLTIP, advanced=True),
                io.Float.Input("first_step", default=0.0, min=0.0, max=1.0, step=0.05, advanced=True,
                               tooltip="Steps that count begin here: 0 is the first, 1 the last."),
                io.Float.Input("last_step", default=1.0, min=0.0, max=1.0, step=0.05, advanced=True,
                               tooltip="Steps that count end here."),
                io.Int.Input("first_block", default=0, min=0, max=999, advanced=True, tooltip="Blocks that count begin here."),
                io.Int.Input("last_block", default=999, min=0, max=999, advanced=True, tooltip="Blocks that count end here."),
                io.Combo.Input("sampler", options=list(sampling.SAMPLERS), default=sampling.SAMPLERS[0], optional=True,
                               advanced=True, tooltip="As on your sampler."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The drawing, to look at or save.")],
        )

    @classmethod
    @within_limits
    def execute(cls, lcu, clip, attention, negative_instruction, width, height, target_image, token_budget, seed, steps,
                guidance, rescale, first_step, last_step, first_block, last_block, model=None, vae=None,
                sampler="euler") -> io.NodeOutput:
        missing = [name for name, value in (("model", model), ("vae", vae)) if value is None]
        if attention and missing:
            raise InspectorError(f"attention is on, but {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not "
                                 "connected: connect what is missing, or turn attention off.")
        lcu, budget = as_lcu(lcu), token_budget or defaults_of(model).token_budget
        frames, prepared, target, size = prepare(lcu, width, height, target_image, budget, negative_instruction)
        patch = 8 * model.model.diffusion_model.config.patch_size if model is not None and hasattr(
            model.model.diffusion_model, "config") else TOKEN
        _, tokenizer = t5.t5_of(clip)
        sizes = [size, *(tuple(pixels.shape[:2]) for pixels, _ in prepared)]
        grids = [(-(-tall // patch), -(-wide // patch)) for tall, wide in sizes]
        mask = None if target is None else resample(prepared[target - 1][1], size)
        masks = [mask, *(each for _, each in prepared)]
        watch = None
        if attention:
            tokens = tokenize(lcu, clip, vae, width, height, target_image, budget, negative_instruction)
            lengths = [tokens.text.shape[1], *(tokens.frames[f"text.{i}"].shape[1] for i in range(len(prepared)))]
            chosen = torch.ones(grids[0]) if mask is None else resample(mask, grids[0])
            watch = Watch([rows * columns for rows, columns in grids], lengths, chosen.flatten() > 0,
                          (first_block, last_block), (first_step, last_step))
            positive, negative = conditioning(tokens)
            sampling.sample(watch.on(model), positive, negative, empty_latent(size), seed, steps, guidance, rescale, 1.0,
                            sampler)
        turns = [number for number, turn in enumerate(lcu.turns, 1) for _ in turn.images]
        cards, maps = [], []
        for i, frame in enumerate(frames):
            ids, cut = truncate(tokenizer(clean(frame.text))["input_ids"])
            pieces = [tokenizer.convert_ids_to_tokens(token).replace("▁", " ") for token in ids[:-1]]
            cards.append(Card(
                "result" if i == 0 else f"turn {turns[i - 1]}", placeholder(len(frames) - 1 if i == 0 else i - 1),
                len(frames) - 1 if i == 0 else i - 1, sizes[i], grids[i], pieces, None if i == 0 else prepared[i - 1][0],
                masks[i], cut, None if watch is None else float(watch.shares[i])))
        if watch is not None:
            text = clean(frames[0].text)
            offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"][:watch.texts[0] - 1]
            for word, columns in words_in(text, offsets):
                maps.append((word, [found[:, columns].sum(1).view(*grid) if frame.text == frames[0].text else None
                                    for found, grid, frame in zip(watch.words, grids, frames, strict=True)]))
        order = [*range(1, len(cards)), 0]  # turns from left to right, then what comes of them
        used = max(rows * columns for rows, columns in grids)
        heading = (f"{len(lcu.turns)} turn{'s' * (len(lcu.turns) > 1)}, {len(frames) - 1} of {MAX_IMAGES} images, largest "
                   f"picture {used} of {budget} tokens")
        heading += f", {lcu.forgotten} earlier turns forgotten" if lcu.forgotten else ""
        rows = [(word, [found[i] for i in order]) for word, found in maps]
        return io.NodeOutput(draw([cards[i] for i in order], heading, rows))
