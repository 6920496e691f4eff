"""The published files of ACE: name, address, folder. ComfyUI's missing-model dialog, the workflows and the check read them."""

from dataclasses import asdict, dataclass

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Model:
    name: str  # equal to the loader's widget value, or the dialog does not match them
    url: str  # the dialog offers huggingface.co and civitai addresses that end in .safetensors, .sft, .ckpt, .pth, .pt
    directory: str  # below ComfyUI's models/

    def entry(self) -> dict[str, str]:
        return asdict(self)

    @property
    def page(self) -> str:
        """Where a person reads the file's size and SHA-256."""
        return self.url.replace("/resolve/", "/blob/")


DIT = Model("ace_0.6b_512px.pth", f"{HUB}/scepter-studio/ACE-0.6B-512px/resolve/main/models/dit/ace_0.6b_512px.pth",
            "diffusion_models")
DIT_1024 = Model("ace_0.6b_1024px.pth", f"{HUB}/scepter-studio/ACE-0.6B-1024px/resolve/main/models/dit/"
                 "ace_0.6b_1024px.pth", "diffusion_models")
T5 = Model("t5xxl_fp16.safetensors", f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp16.safetensors",
           "text_encoders")
T5_FP8 = Model("t5xxl_fp8_e4m3fn.safetensors", f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main/"
               "t5xxl_fp8_e4m3fn.safetensors", "text_encoders")
VAE = Model("vae-ft-mse-840000-ema-pruned.safetensors", f"{HUB}/stabilityai/sd-vae-ft-mse-original/resolve/main/"
            "vae-ft-mse-840000-ema-pruned.safetensors", "vae")
