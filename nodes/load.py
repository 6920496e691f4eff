"""Loaders for the diffusion model and its text encoder."""

import folder_paths
import torch
from comfy_api.latest import io

from ..ace_model.comfyui.loader import load_model, load_text_encoder, text_encoder_names, text_encoder_path
from .types import CATEGORY

WEIGHT_DTYPES = {
    "default": {},
    "float32": {"dtype": torch.float32},
    "bfloat16": {"dtype": torch.bfloat16},
    "fp8_e4m3fn": {"dtype": torch.float8_e4m3fn},
    "fp8_e4m3fn_fast": {"dtype": torch.float8_e4m3fn, "fp8_optimizations": True},
    "fp8_e5m2": {"dtype": torch.float8_e5m2},
}


class LoadModelNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorLoadModel",
            display_name="Load ACE Model",
            category=CATEGORY,
            description="Loads ACE's diffusion transformer from models/diffusion_models: the published .pth files, "
                        ".safetensors files, and files saved by ComfyUI. If you load the wrong file, the error says what it "
                        "is.",
            search_aliases=["ACE", "ACE-0.6B", "instruction edit model", "image editing model", "all-round creator"],
            inputs=[
                io.Combo.Input("model_name", options=folder_paths.get_filename_list("diffusion_models"),
                               tooltip="A file in models/diffusion_models, for instance ace_0.6b_512px.pth from "
                                       "huggingface.co/scepter-studio/ACE-0.6B-512px."),
                io.Combo.Input("weight_dtype", options=list(WEIGHT_DTYPES), default="default", advanced=True,
                               tooltip="The type of the weights in memory. default: ComfyUI chooses one for your device. fp8 "
                                       "halves the 1.2 GB of bfloat16 at some loss of quality."),
            ],
            outputs=[io.Model.Output(tooltip="For ACE Sampler, or for core's samplers, LoRA loaders and patches.")],
        )

    @classmethod
    def execute(cls, model_name, weight_dtype) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("diffusion_models", model_name)
        return io.NodeOutput(load_model(path, dict(WEIGHT_DTYPES[weight_dtype])))


class LoadTextEncoderNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorLoadTextEncoder",
            display_name="Load ACE Text Encoder",
            category=CATEGORY,
            description="Loads a T5 v1.1 encoder of any size from models/text_encoders, fp8 files included. The published ACE "
                        "models use XXL. Core's Load CLIP with type pixart works too.",
            search_aliases=["T5", "t5xxl", "ACE CLIP", "load clip"],
            inputs=[
                io.Combo.Input("text_encoder_name", options=text_encoder_names(),
                               tooltip="A file in models/text_encoders, for instance t5xxl_fp16.safetensors or "
                                       "t5xxl_fp8_e4m3fn.safetensors."),
                io.Combo.Input("device", options=["default", "cpu"], default="default", advanced=True,
                               tooltip="cpu leaves the graphics card's memory to the diffusion model."),
            ],
            outputs=[io.Clip.Output(tooltip="For ACE Condition Tokenizer.")],
        )

    @classmethod
    def execute(cls, text_encoder_name, device) -> io.NodeOutput:
        path = text_encoder_path(text_encoder_name)
        cpu = torch.device("cpu")
        options = {"load_device": cpu, "offload_device": cpu} if device == "cpu" else {}
        return io.NodeOutput(load_text_encoder(path, options))
