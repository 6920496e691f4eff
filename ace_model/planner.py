"""How much memory a step takes, from the layers of the network: the host loads and offloads by it.

`python -m tests.bench.memory` holds it against what is alive in a full-size step, operation by operation.
"""

from .config import ACEConfig

QUERIES = 256  # attention without a fused kernel: the smallest piece that ComfyUI cuts the queries into
MARGIN = 1.25  # on top for the host: blocks that the allocator cannot fill, workspaces of kernels, weights cast layer by layer


def activation_bytes(config: ACEConfig, tokens: int, words: int, element_size: int, fused: bool = True) -> int:
    """Most bytes alive at once of what one step makes; weights and the step's inputs are not among them.

    tokens, words: of all frames, and of all frames' texts, added up over the batch · element_size: bytes of a number in the
    type the network computes in · fused: attention keeps no scores (flash, memory-efficient and cuDNN kernels, xformers, sage).

    The peak is in a block, and it is the same in every block but the last, which is smaller. Always alive are the embedded
    tokens, which `DiT.forward` holds, and the block's input. Then it is the largest of three moments, in numbers of a token's
    width.
    """
    size, rotated = element_size, 4  # rotation computes in float32
    keys = rotated * (1 if size < rotated else 0)  # their copy in float32
    rotating = size * 4 + keys + rotated * 2  # normed tokens, rotated q, k, v; both halves of k, and the halves as one
    attending = size * 6  # normed tokens, q and k rotated, k as it was, v; the answer
    scores = 0
    if not fused:
        attending += size  # v once more, in one piece
        scores = 2 * QUERIES * config.num_heads * size  # of one token as key, before and after the softmax
    widening = size * (2 + 2 * config.mlp_ratio)  # after cross-attention, modulated; the MLP's inside before and after GELU
    width = config.hidden_size
    peak = max(width * rotating, width * attending + scores, width * widening)
    head = width // config.num_heads
    return int(tokens * (width * size * 2 + peak + 4 * head) + words * width * size)  # 4·head: a token's rotary tables
