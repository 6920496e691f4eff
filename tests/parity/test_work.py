"""No work twice: operations, waiting and graph breaks of a step. Tensors on a card that need not exist, without contents,
carry the network at full size."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ace_model.config import ACEConfig
from ace_model.diffusion import guide
from ace_model.dit import DiT

LAYOUTS = {  # name: (frames' height and width in pixels, target first; tokens of each frame's text; batch)
    "words alone, 512": ([(512, 512)], [20], 1),
    "one picture, 512": ([(512, 512)] * 2, [20] * 2, 1),
    "three pictures, 512": ([(512, 512)] * 4, [20, 7, 33, 20], 1),
    "eight pictures, 1024": ([(1024, 1024)] * 9, [120] * 9, 1),
    "mixed sizes": ([(768, 512), (384, 672), (1360, 768), (64, 64)], [31, 1, 120, 18], 1),
    "both branches of guidance": ([(512, 640), (512, 512)], [20, 25], 2),
}
READS = {"_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "nonzero", "nonzero_numpy", "argwhere",
         "masked_select", "unique", "_unique2", "unique_consecutive", "bincount"}
OWN, INSIDE = "ACE's own", "inside ComfyUI"


@pytest.fixture
def build(comfy, pack, monkeypatch):
    """(OWN or INSIDE, device, sizes of ACEConfig) → the network. To be called under FakeTensorMode for a card."""
    import comfy.ops
    from comfy.ldm.modules.attention import attention_pytorch
    monkeypatch.setattr(pack.model, "optimized_attention", attention_pytorch)  # core's choice on NVIDIA cards

    def network(kind, device="cuda", dtype=torch.bfloat16, **sizes):
        if kind == OWN:
            return DiT(ACEConfig(**sizes), dtype=dtype, device=device).requires_grad_(False)
        return pack.model.ComfyDiT(dtype=dtype, device=device, operations=comfy.ops.disable_weight_init,
                                   **sizes).requires_grad_(False)
    return network


def step(network, kind, sides, texts, batch, device="cuda", projected=True, options=None):
    """One call, as a step makes it. projected: the text has been projected before, else it is projected in the step."""
    def values(*shape):
        return torch.linspace(-1, 1, math.prod(shape), device=device, dtype=network.t_block[1].weight.dtype).view(shape)
    x, *images = [values(batch, 4, height // 8, width // 8) for height, width in sides]
    mask, *masks = [values(batch, 1, height // 8, width // 8) for height, width in sides]
    width = network.config.hidden_size if projected else network.config.text_width
    features = [values(batch, length, width) for length in texts]
    timestep, names = torch.zeros(batch, device=device), values(batch, len(sides) if projected else 10, width)
    if kind == OWN:
        return network(x, timestep, mask, images, masks, *((features, names) if projected else
                                                           network.project_text(features, names)))
    return network(x, timestep, features[0], mask, images, masks, features[1:],
                   transformer_options={} if options is None else options,
                   **{"names" if projected else "indicators": names})


def fewest(sides, texts, batch, width=1152, depth=28, mlp=4608, outputs=32):
    """Operations that figure 3 of the paper asks for: two for each multiplication with its addition."""
    frames = [height * columns // 256 for height, columns in sides]
    everything = sum(frames)

    def block(frames, texts):
        """Keys and values of all frames; queries and the rest of these frames, each with its own text."""
        n, words = sum(frames), sum(texts)
        context = 2 * (everything + n) * width**2 + 2 * n * everything * width
        text = 2 * (n + words) * width**2 + 2 * sum(f * t for f, t in zip(frames, texts, strict=True)) * width
        return context + text + 2 * n * width * mlp
    blocks = (depth - 1) * block(frames, texts) + block(frames[:1], texts[:1])  # after the last, only the target is read
    around = everything * (2 * 2 * 5) * width + frames[0] * width * outputs + (256 + width + 6 * width) * width
    return 2 * batch * (blocks + around)


@pytest.mark.parametrize(("kind", "layout"), [*((INSIDE, layout) for layout in LAYOUTS), (OWN, "mixed sizes")])
@torch.no_grad()
def test_operations_are_the_fewest(kind, layout, build):
    with FakeTensorMode(), FlopCounterMode(display=False) as counted:
        step(build(kind), kind, *LAYOUTS[layout])
    assert counted.get_total_flops() == fewest(*LAYOUTS[layout])


@torch.no_grad()
def test_where_a_patch_sees_the_last_block_it_is_whole(build):
    layout = LAYOUTS["one picture, 512"]

    def operations(options):
        with FakeTensorMode(), FlopCounterMode(display=False) as counted:
            step(build(INSIDE, depth=2), INSIDE, *layout, options=options)
        return counted.get_total_flops()
    seen = []

    def see(args, extra=None):
        seen.append(args["img"].shape[1])
        return extra["original_block"](args) if extra else args
    fewer = fewest(*layout, depth=2)
    assert operations({"patches_replace": {"dit": {("double_block", 0): see}}}) == fewer
    whole = operations({"patches_replace": {"dit": {("double_block", 1): see}}})
    assert whole == operations({"patches": {"double_block": [see]}}) > fewer
    assert seen == [2048] * 4


class OnTheCard(TorchDispatchMode):
    """Refuses what makes host and card wait for each other: reading a value, and tensors that are not on the card."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.split("::")[1]
        assert name not in READS, f"{name} reads a value"
        assert name != "index" or not any(t.dtype == torch.bool for t in tree_leaves(args) if t is not None), (
            "index by a mask reads a value")
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor):
                assert tensor.device.type == "cuda", f"{name} has {tuple(tensor.shape)} on the {tensor.device.type}"
        return out


@pytest.mark.parametrize("kind", [OWN, INSIDE])
@pytest.mark.parametrize("projected", [True, False], ids=["text projected before", "weights that change"])
@torch.no_grad()
def test_a_step_never_waits(projected, kind, build):
    """The first step of a layout makes its rotary tables on the host. They are kept, and every later step stays on the card."""
    layout = LAYOUTS["mixed sizes"]
    with FakeTensorMode():
        network = build(kind, depth=2)
        with pytest.raises(AssertionError, match="on the cpu"), OnTheCard():
            step(network, kind, *layout, projected=projected)
        step(network, kind, *layout, projected=projected)
        with OnTheCard():
            step(network, kind, *layout, projected=projected)
        assert len(network._rope) == 1


def test_guidance_never_waits(pack):
    with FakeTensorMode():
        x, denoised, cond, uncond = (torch.zeros(2, 4, 64, 64, device="cuda") for _ in range(4))
        with OnTheCard():
            pack.sampling.rescaled(x - denoised, x - cond)
            guide(cond, uncond)


@pytest.mark.parametrize("wait", [lambda x: x.sum().item(), lambda x: bool(x.any()), lambda x: x.cpu(), lambda x: x.nonzero(),
                                  lambda x: x[x > 0], lambda x: x[[1, 0]], lambda x: x + torch.arange(4).to(x)])
def test_the_guard_sees_what_waits(wait):
    with FakeTensorMode(), pytest.raises(AssertionError, match="reads a value|on the cpu"):
        x = torch.zeros(4, device="cuda")
        with OnTheCard():
            wait(x)


@pytest.mark.parametrize("kind", [OWN, INSIDE])
@torch.no_grad()
def test_compiled_it_is_one_graph(kind, build):
    """As core's TorchCompileModel compiles it, whole; here by the backend that needs no compiler. fullgraph forbids breaks."""
    generator, tiny = torch.Generator().manual_seed(0), {"hidden_size": 72, "depth": 2, "num_heads": 2, "text_width": 16}
    network = build(kind, "cpu", torch.float32, **tiny)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for sides in ([(64, 64), (32, 64)], [(64, 96)]):
        torch.testing.assert_close(step(compiled, kind, sides, [5] * len(sides), 1, "cpu"),
                                   step(network, kind, sides, [5] * len(sides), 1, "cpu"), rtol=1e-5, atol=1e-5)
    torch._dynamo.reset()
