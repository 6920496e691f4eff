"""The published files that workflows name: file name, address and folder, as ComfyUI's missing-model dialog reads them."""

from ace_model.published import DIT, DIT_1024, HUB, T5, VAE, Model

FLUX = Model("flux1-dev.safetensors", f"{HUB}/black-forest-labs/FLUX.1-dev/resolve/main/flux1-dev.safetensors",
             "diffusion_models")
CLIP_L = Model("clip_l.safetensors", f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main/clip_l.safetensors",
               "text_encoders")
FLUX_VAE = Model("ae.safetensors", f"{HUB}/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/"
                 "ae.safetensors", "vae")

SAM = Model("sam3.1_multiplex_fp16.safetensors", f"{HUB}/Comfy-Org/sam3.1/resolve/main/checkpoints/"
            "sam3.1_multiplex_fp16.safetensors", "checkpoints")
UPSCALER = Model("RealESRGAN_x4plus.safetensors", f"{HUB}/Comfy-Org/Real-ESRGAN_repackaged/resolve/main/"
                 "RealESRGAN_x4plus.safetensors", "upscale_models")

PLUS = f"{HUB}/ali-vilab/ACE_Plus/resolve/main"
FILL = Model("flux1-fill-dev.safetensors", f"{HUB}/black-forest-labs/FLUX.1-Fill-dev/resolve/main/flux1-fill-dev.safetensors",
             "diffusion_models")
FFT = Model("ace_plus_fft.safetensors", f"{PLUS}/ace_plus_fft.safetensors", "diffusion_models")
PORTRAIT = Model("comfyui_portrait_lora64.safetensors", f"{PLUS}/portrait/comfyui_portrait_lora64.safetensors", "loras")
SUBJECT = Model("comfyui_subject_lora16.safetensors", f"{PLUS}/subject/comfyui_subject_lora16.safetensors", "loras")
REDUX = Model("flux1-redux-dev.safetensors", f"{HUB}/Comfy-Org/Flux1-Redux-Dev/resolve/main/flux1-redux-dev.safetensors",
              "style_models")
SIGLIP = Model("sigclip_vision_patch14_384.safetensors", f"{HUB}/Comfy-Org/sigclip_vision_384/resolve/main/"
               "sigclip_vision_patch14_384.safetensors", "clip_vision")
LOCAL = Model("comfyui_local_lora16.safetensors", f"{PLUS}/local_editing/comfyui_local_lora16.safetensors", "loras")

DEMO_DIT, DEMO_T5, DEMO_VAE = "ace_demo_dit.safetensors", "ace_demo_t5.safetensors", "ace_demo_vae.safetensors"  # bundled
DEMO_FAST = "ace_demo_fast.safetensors"  # bundled: a LoRA for few steps

_KNOWN = {model.name: model for model in (DIT, DIT_1024, T5, VAE, FLUX, CLIP_L, FLUX_VAE, SAM, UPSCALER, FILL, FFT,
                                          PORTRAIT, SUBJECT, LOCAL, REDUX, SIGLIP)}


def by_name(value) -> Model | None:
    """The published file that a widget's value names, if it is one."""
    return _KNOWN.get(value) if isinstance(value, str) else None

