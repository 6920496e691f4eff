"""Context reuse in ComfyUI's sampling: decided before every evaluation, forgotten after every run."""

import comfy.model_patcher
from comfy.patcher_extension import WrappersMP

from ..reuse import ContextReuse
from ..soundness import warn
from .model import REUSE
from .sampling import check_model

WRAPPERS = (WrappersMP.OUTER_SAMPLE, WrappersMP.PREPARE_SAMPLING, WrappersMP.PREDICT_NOISE)


def with_context_reuse(model, every: int, change: float = 0.0):
    """MODEL that computes the condition frames only in every so many evaluations (see reuse.py). every 1 is exact and takes
    an earlier setting away."""
    check_model(model)
    model = model.clone()
    for kind in WRAPPERS:
        model.remove_wrappers_with_key(kind, REUSE)
    model.model_options["transformer_options"].pop(REUSE, None)
    if every == 1:
        return model
    model.model_options["transformer_options"][REUSE] = {"every": every, "change": change}  # what the model is told apart by
    for kind, wrapper in zip(WRAPPERS, (_run, _prepare, _evaluate), strict=True):
        model.add_wrapper_with_key(kind, REUSE, wrapper)
    return model


def _run(executor, *args, **kwargs):
    """A whole sampling run: with a memory of its own, which nothing outlives."""
    guider = executor.class_obj
    before = guider.model_options
    guider.model_options = comfy.model_patcher.create_model_options_clone(before)
    options = guider.model_options["transformer_options"]
    settings = options.pop(REUSE)
    if guider.model_options.get("model_function_wrapper"):
        warn("ACE Context Reuse is off: a patch calls the network in its own way.")
    else:
        options[REUSE] = ContextReuse(**settings)
    try:
        return executor(*args, **kwargs)
    finally:
        guider.model_options = before


def _prepare(executor, model, noise_shape, conds, *args, **kwargs):
    """Has what is kept counted in the memory estimate: ACE.extra_conds_shapes sees the mark."""
    marked = {name: [{**cond, REUSE: True} for cond in each] for name, each in conds.items()}
    return executor(model, noise_shape, marked, *args, **kwargs)


def _evaluate(executor, x, timestep, model_options={}, *args, **kwargs):  # noqa: B006 - core's signature
    reuse = model_options.get("transformer_options", {}).get(REUSE)
    if isinstance(reuse, ContextReuse):
        reuse.begin(x / (timestep.reshape(-1, *[1] * (x.ndim - 1)) ** 2 + 1).sqrt())
    return executor(x, timestep, model_options, *args, **kwargs)
