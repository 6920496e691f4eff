"""The reference's sampling, and its two parts for people who use core's samplers."""

from comfy_api.latest import io

from ..ace_model import diffusion
from ..ace_model.comfyui import sampling
from ..ace_model.comfyui.reuse import with_context_reuse
from .types import CATEGORY, within_limits

RESCALE_TOOLTIP = ("Keeps guidance from raising the contrast: 0 is plain guidance, 1 the full correction. It works on the "
                   "predicted noise, unlike core's RescaleCFG.")
STEPS_TOOLTIP = "0: the model's own number, which is 20 for the 512px model and 50 for the 1024px model."
EVERY_TOOLTIP = ("Condition images are computed once in so many steps, and the steps between use what the model made of them. "
                 "1 computes them in every step, as the reference does.")
SAMPLER_TOOLTIP = ("euler is the reference's. lcm is for a LoRA made for few steps: use it with 2 to 4 steps and guidance 1. "
                   "Both equal ComfyUI's samplers of these names.")
DENOISE_TOOLTIP = "Below 1, sampling starts from the picture in the latent (connect VAE Encode) instead of from noise."


class SamplerNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorSampler",
            display_name="ACE Sampler",
            category=CATEGORY,
            description="Long-context sampling as in the reference: DDIM with trailing timesteps and rescaled guidance.",
            search_aliases=["ACE KSampler", "sample ACE", "long-context sampling"],
            inputs=[
                io.Model.Input("model", tooltip="From Load ACE Model or core's Load Diffusion Model."),
                io.Conditioning.Input("positive", tooltip="From ACE Image Indicator."),
                io.Conditioning.Input("negative", tooltip="From ACE Image Indicator."),
                io.Latent.Input("latent", tooltip="From ACE Image Indicator, or from VAE Encode to start from a picture."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True,
                             tooltip="The same seed gives the same result."),
                io.Int.Input("steps", default=0, min=0, max=1000, tooltip=STEPS_TOOLTIP),
                io.Float.Input("guidance", default=diffusion.GUIDANCE, min=0.0, max=100.0, step=0.1, round=0.01,
                               tooltip="How closely to follow the instruction. 1 turns guidance off: twice as fast, but "
                                       "follows instructions less closely."),
                io.Float.Input("rescale", default=diffusion.RESCALE, min=0.0, max=1.0, step=0.05, round=0.01,
                               tooltip=RESCALE_TOOLTIP),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=DENOISE_TOOLTIP),
                io.Int.Input("reuse_context", default=1, min=1, max=100, optional=True, advanced=True,
                             tooltip=f"{EVERY_TOOLTIP} 5 is much faster with several pictures, and hardly differs."),
                io.Combo.Input("sampler", options=list(sampling.SAMPLERS), default=sampling.SAMPLERS[0], optional=True,
                               advanced=True, tooltip=SAMPLER_TOOLTIP),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="For VAE Decode.")],
        )

    @classmethod
    @within_limits
    def execute(cls, model, positive, negative, latent, seed, steps, guidance, rescale, denoise, reuse_context=1,
                sampler="euler") -> io.NodeOutput:
        if reuse_context > 1:
            model = with_context_reuse(model, reuse_context)
        return io.NodeOutput(sampling.sample(model, positive, negative, latent, seed, steps, guidance, rescale, denoise,
                                             sampler))


class GuidanceNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorGuidance",
            display_name="ACE Guidance",
            category=CATEGORY,
            description="Rescaled guidance for core's samplers, with their cfg as its strength. ACE Sampler has it built in.",
            search_aliases=["rescale cfg ACE", "guidance rescale"],
            inputs=[
                io.Model.Input("model", tooltip="An ACE model."),
                io.Float.Input("rescale", default=diffusion.RESCALE, min=0.0, max=1.0, step=0.05, round=0.01,
                               tooltip=RESCALE_TOOLTIP),
            ],
            outputs=[io.Model.Output(tooltip="For KSampler, CFGGuider, …")],
        )

    @classmethod
    @within_limits
    def execute(cls, model, rescale) -> io.NodeOutput:
        return io.NodeOutput(sampling.with_guidance(model, rescale))


class SchedulerNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorScheduler",
            display_name="ACE Scheduler",
            category=CATEGORY,
            description="The reference's schedule (trailing timesteps) for SamplerCustomAdvanced. Use it with the sampler "
                        "euler, or with lcm and a LoRA made for few steps.",
            search_aliases=["ACE sigmas", "trailing timesteps", "ddim trailing"],
            inputs=[
                io.Model.Input("model", tooltip="An ACE model, for its noise levels and its own number of steps."),
                io.Int.Input("steps", default=0, min=0, max=1000, tooltip=STEPS_TOOLTIP),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=DENOISE_TOOLTIP),
            ],
            outputs=[io.Sigmas.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    @within_limits
    def execute(cls, model, steps, denoise) -> io.NodeOutput:
        return io.NodeOutput(sampling.sigmas(model, steps, denoise))


class ContextReuseNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorContextReuse",
            display_name="ACE Context Reuse",
            category=CATEGORY,
            description="Makes edits with pictures faster: condition images are computed in some steps only. Works with every "
                        "sampler.",
            search_aliases=["ACE speed", "faster ACE", "cache ACE", "KV cache", "EasyCache ACE"],
            inputs=[
                io.Model.Input("model", tooltip="An ACE model."),
                io.Int.Input("every", default=5, min=1, max=100, tooltip=EVERY_TOOLTIP),
                io.Float.Input("change", default=0.0, min=0.0, max=2.0, step=0.01, round=0.001, advanced=True,
                               tooltip="They are also computed as soon as the result has changed by more than this share since "
                                       "they last were. 0 leaves that out; every at 100 leaves it to this alone."),
            ],
            outputs=[io.Model.Output(tooltip="For ACE Sampler, KSampler, CFGGuider, …")],
        )

    @classmethod
    @within_limits
    def execute(cls, model, every, change) -> io.NodeOutput:
        return io.NodeOutput(with_context_reuse(model, every, change))
