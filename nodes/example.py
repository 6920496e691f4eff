"""Bundled pictures, so that templates run without an upload."""

from comfy_api.latest import io

from ..starters import pictures
from .types import CATEGORY


class ExampleImageNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorExampleImage",
            display_name="ACE Example Image",
            category=CATEGORY,
            description="A picture that comes with this pack, with a mask of something to edit. Replace this node with Load "
                        "Image to edit your own picture.",
            search_aliases=["sample image", "test picture", "demo image"],
            inputs=[
                io.Combo.Input("picture", options=pictures.names(), tooltip="Photographs in the public domain and drawings "
                                                                            "made for this pack."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The picture."),
                     io.Mask.Output(display_name="mask", tooltip="White over something to edit. All black if the example "
                                                                 "is for edits of the whole picture.")],
        )

    @classmethod
    def execute(cls, picture) -> io.NodeOutput:
        return io.NodeOutput(*pictures.load(picture))
