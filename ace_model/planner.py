"""How much memory a step takes, from the layers of the network: the host loads and offloads by it.

`python dev.py bench --memory` holds it against what is alive in a full-size step, operation by operation.
"""

from .config import ACEConfig

QUERIES = 256  # attention without a fused kernel: the smallest piece that ComfyUI cuts the queries into
MARGIN = 1.25  # on top for the host: blocks that the allocator cannot fill, workspaces of kernels, weights cast layer by layer


def activation_bytes(config: ACEConfig, tokens: int, words: int, element_size: int, fused: bool = True) -> int:
    """Most bytes alive at once of what one step makes; weights and the step's inputs are not among them.

    tokens, words: of all frames, and of all frames' texts, added up over the batch · element_size: bytes of a number in the
    type the network computes in · fused: attention keeps no scores (flash, memory-efficient and cuDNN kernels, xformers, sage).

    The peak lies in a block, and is the same in every block but the last, which is smaller. The embedded tokens, which
    `DiT.forward` holds, and the block's input are always alive. To them comes the largest of three moments.
    """
    width, size, float32 = config.hidden_size, element_size, 4
    rotating = width * (4 * size  # normed tokens, rotated q, k, v
                        + (float32 if size < float32 else 0)  # k in float32
                        + 2 * float32)  # both halves of it rotated, and the halves as one
    attending = width * 5 * size  # normed tokens, rotated q and k, v, the answer
    if not fused:
        attending += width * size  # v once more, in one piece
        attending += 2 * QUERIES * config.num_heads * size  # a key's scores, before and after the softmax
    widening = width * size * (2 + 2 * config.mlp_ratio)  # after cross-attention, modulated; the MLP's inside and its GELU
    always, rotary = 2 * width * size, width // config.num_heads * float32
    return int(tokens * (always + rotary + max(rotating, attending, widening)) + words * width * size)
