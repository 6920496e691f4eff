"""Small graphs for the help pages, which show how each node is wired."""

from ..graph import Workflow
from ..models import DIT, T5, VAE


def ours() -> Workflow:
    """One turn through the pack's own sampler."""
    flow = Workflow("Wiring")
    model = flow.add("ACEEditorLoadModel", model_name=DIT.name)
    clip = flow.add("ACEEditorLoadTextEncoder", text_encoder_name=T5.name)
    vae = flow.add("VAELoader", vae_name=VAE.name)
    picture = flow.add("LoadImage", image="picture.png")
    unit = flow.add("ACEEditorConditionUnit", instruction="{image} …", image=picture["IMAGE"], mask=picture["MASK"])
    earlier = flow.add("ACEEditorLongContextUnit", unit=flow.add("ACEEditorConditionUnit"))
    lcu = flow.add("ACEEditorLongContextUnit", unit=unit, history=earlier)
    flow.nodes.remove(earlier)
    flow.nodes.append(earlier)  # the picture shows the turn that has a history
    tokens = flow.add("ACEEditorConditionTokenizer", lcu=lcu, clip=clip, vae=vae)
    indicator = flow.add("ACEEditorImageIndicatorEmbedding", tokens=tokens)
    latent = flow.add("ACEEditorSampler", model=model, positive=indicator["positive"], negative=indicator["negative"],
                      latent=indicator["latent"])
    flow.add("SaveImage", images=flow.add("VAEDecode", samples=latent, vae=vae))
    return flow


def core() -> Workflow:
    """The same model through core's sampler nodes."""
    flow = Workflow("Wiring with core's samplers")
    model = flow.add("UNETLoader", unet_name=DIT.name, weight_dtype="default")
    indicator = flow.add("ACEEditorImageIndicatorEmbedding")
    guider = flow.add("CFGGuider", model=flow.add("ACEEditorGuidance", model=model), positive=indicator["positive"],
                      negative=indicator["negative"], cfg=4.5)
    flow.add("SamplerCustomAdvanced", noise=flow.add("RandomNoise"), guider=guider, latent_image=indicator["latent"],
             sampler=flow.add("KSamplerSelect", sampler_name="euler"), sigmas=flow.add("ACEEditorScheduler", model=model))
    return flow


def faster() -> Workflow:
    """Context images in some steps only."""
    flow = Workflow("Wiring of context reuse")
    indicator = flow.add("ACEEditorImageIndicatorEmbedding")
    reuse = flow.add("ACEEditorContextReuse", model=flow.add("ACEEditorLoadModel", model_name=DIT.name))
    latent = flow.add("ACEEditorSampler", model=reuse, positive=indicator["positive"], negative=indicator["negative"],
                      latent=indicator["latent"])
    flow.add("VAEDecode", samples=latent)
    return flow


def keep() -> Workflow:
    """Crop around the mask, edit, put back."""
    flow = Workflow("Wiring of a masked edit")
    picture = flow.add("LoadImage", image="picture.png")
    crop = flow.add("ACEEditorCropAroundMask", image=picture["IMAGE"], mask=picture["MASK"])
    flow.add("ACEEditorConditionUnit", image=crop["image"], mask=crop["mask"],
             instruction=flow.add("ACEEditorInstruction", task="Repainting: inpainting", what="…"))
    result = flow.add("VAEDecode")
    kept = flow.add("ACEEditorKeepUntouched", original=picture["IMAGE"], result=result, mask=picture["MASK"],
                    window=crop["window"])
    flow.add("SaveImage", images=kept)
    return flow


def talk() -> Workflow:
    """From turn to turn on one wire."""
    flow = Workflow("Wiring of a conversation")
    made = [flow.add("VAEDecode"), flow.add("ACEEditorLongContextUnit"), flow.add("ACEEditorLoadModel", model_name=DIT.name),
            flow.add("ACEEditorLoadTextEncoder", text_encoder_name=T5.name), flow.add("VAELoader", vae_name=VAE.name)]
    wire = flow.add("ACEEditorPackConversation", **dict(zip(("image", "lcu", "model", "clip", "vae"), made, strict=True)))
    before = flow.add("ACEEditorUnpackConversation", conversation=wire)
    unit = flow.add("ACEEditorConditionUnit", instruction="{image} …", image=before["image"])
    flow.add("ACEEditorLongContextUnit", unit=unit, history=before["history"])
    return flow


def chat() -> Workflow:
    """A whole conversation in one node, and what the model sees of it."""
    flow = Workflow("Wiring of the panel")
    model = flow.add("ACEEditorLoadModel", model_name=DIT.name)
    clip = flow.add("ACEEditorLoadTextEncoder", text_encoder_name=T5.name)
    vae = flow.add("VAELoader", vae_name=VAE.name)
    chat = flow.add("ACEEditorConversation", model=model, clip=clip, vae=vae)
    seen = flow.add("ACEEditorInspector", lcu=chat["lcu"], clip=clip, model=model, vae=vae, attention=True)
    flow.add("SaveImage", images=seen)
    return flow


def check() -> Workflow:
    """Are the files right?"""
    flow = Workflow("Wiring of the check")
    checked = flow.add("ACEEditorCheckModel", model=flow.add("ACEEditorLoadModel", model_name=DIT.name),
                       clip=flow.add("ACEEditorLoadTextEncoder", text_encoder_name=T5.name),
                       vae=flow.add("VAELoader", vae_name=VAE.name))
    flow.add("SaveImage", images=checked["image"])
    return flow


def teach() -> Workflow:
    """A data set, core's trainer, and the LoRA that it makes."""
    flow = Workflow("Wiring of a first LoRA")
    model = flow.add("ACEEditorLoadModel", model_name=DIT.name)
    examples = flow.add("ACEEditorTrainingExamples", examples="my set", model=model,
                        clip=flow.add("ACEEditorLoadTextEncoder", text_encoder_name=T5.name),
                        vae=flow.add("VAELoader", vae_name=VAE.name))
    trained = flow.add("TrainLoraNode", model=model, latents=examples["latents"], positive=examples["positive"],
                       optimizer="AdamW", loss_function="MSE", training_dtype="bf16", lora_dtype="bf16", algorithm="LoRA",
                       existing_lora="[None]")
    flow.add("ACEEditorSampler", model=flow.add("LoraModelLoader", model=model, lora=trained["lora"]))
    return flow


def collect() -> Workflow:
    """Examples from single pictures, and pairs found in a folder."""
    flow = Workflow("Wiring of examples")
    picture = flow.add("LoadImage", image="picture.png")
    made = flow.add("ACEEditorMakePairs", images=picture["IMAGE"], mask=picture["MASK"], caption="…")
    flow.add("PreviewAny", source=made["instruction"])
    flow.add("SaveImage", images=made["target"])
    found = flow.add("ACEEditorPairPictures", clip_vision=flow.add("CLIPVisionLoader", clip_name="…"))
    flow.add("SaveImage", images=found["groups"])
    return flow


def outpaint() -> Workflow:
    flow = Workflow("Wiring of outpainting")
    padded = flow.add("ACEEditorPadForOutpainting", image=flow.add("LoadImage", image="picture.png")["IMAGE"])
    flow.add("ACEEditorConditionUnit", image=padded["image"], mask=padded["mask"], blank_masked=True)
    flow.add("ACEEditorKeepUntouched", original=padded["image"], result=flow.add("VAEDecode"), mask=padded["mask"])
    return flow


def plus() -> Workflow:
    """ACE++ on FLUX.1-Fill."""
    flow = Workflow("Wiring of ACE++")
    reference, picture = (flow.add("LoadImage", image="picture.png") for _ in range(2))
    canvas = flow.add("ACEEditorPlusCanvas", reference=reference["IMAGE"], image=picture["IMAGE"], mask=picture["MASK"])
    text = flow.add("ACEEditorPlusTextEncode", text="…", clip=flow.add("DualCLIPLoader", clip_name1="…", clip_name2="…",
                                                                       type="flux", device="default"))
    conditioning = flow.add("ACEEditorPlusConditioning", model=flow.add("LoraLoaderModelOnly", lora_name="…"),
                            positive=text, vae=flow.add("VAELoader", vae_name="…"), canvas=canvas["canvas"],
                            mask=canvas["mask"])
    flow.add("KSampler", positive=conditioning["positive"], negative=conditioning["negative"],
             latent_image=conditioning["latent"], sampler_name="euler", scheduler="simple")
    crop = flow.add("ACEEditorPlusCropResult", image=flow.add("VAEDecode"), layout=canvas["layout"])
    kept = flow.add("ACEEditorKeepUntouched", original=picture["IMAGE"], result=crop["image"], window=crop["window"],
                    mask=picture["MASK"])
    flow.add("SaveImage", images=kept)
    return flow
