"""For tests only: a text encoder whose image names are in another order."""

import sys

ORDER = (7, 4, 0, 9, 2, 1, 3, 5, 8, 6)


class MixNames:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"clip": ("CLIP",)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP",), "mix", "tests"

    def mix(self, clip):
        text = next(module for name, module in sys.modules.items() if name.endswith("ace_model.comfyui.text"))
        _, tokenizer = text.t5_of(clip)
        mixed = text.indicators(clip)[0][list(ORDER), None]
        for names in text.name_groups(tokenizer):
            text.memory.texts.keep(clip.patcher, names, mixed[:len(names)])
            mixed = mixed[len(names):]
        return (clip,)


NODE_CLASS_MAPPINGS = {"MixNames": MixNames}
