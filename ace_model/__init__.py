"""ACE, the All-round Creator and Editor (arXiv 2410.00086), in plain PyTorch.

How an instruction becomes a picture (B batch, F frames = target + condition images, D hidden width):

    instruction, images (H, W, 3), masks (H, W)
      │  lcu.ConditionUnit, lcu.LongContextUnit.frames    turns → frames, placeholders numbered over all turns
      │  images.preprocess, text.clean                    sizes in multiples of 16, [0, 1], masks of 0 and 1
      ▼
    per frame: T5 features (B, L, 4096) · latent (B, 4, h, w) · mask (B, 1, h, w)        (the host's T5 and VAE)
      │  dit.DiT.project_text                             once per prompt: + image indicator, (B, L, D)
      ▼
    diffusion.ddim, or a host's sampler
      │  dit.DiT.forward                                  each step: frames → tokens (B, N, D)
      │    layers.Block × depth                           all frames together · each frame with its text · MLP
      ▼
    eps of the target (B, 4, h, w)  →  latent  →  the host's VAE  →  picture

Read in this order: lcu, images, masks, text, config, checkpoint, rope, layers, dit, diffusion. Beside the model: outpaint
(padding), paste (crop around a mask, and paste back), plus (the canvas of ACE++). Only `comfyui` imports ComfyUI.
"""
