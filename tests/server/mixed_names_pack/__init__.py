"""For tests only: a text encoder whose image names are in another order."""

import sys


class MixNames:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"clip": ("CLIP",)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP",), "mix", "tests"

    def mix(self, clip):
        text = next(module for name, module in sys.modules.items() if name.endswith("ace_model.comfyui.text"))
        names = text.indicators(clip)
        text._indicators[clip.cond_stage_model] = clip.patcher.patches_uuid, names[:, [7, 4, 0, 9, 2, 1, 3, 5, 8, 6]]
        return (clip,)


NODE_CLASS_MAPPINGS = {"MixNames": MixNames}
