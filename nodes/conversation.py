"""A whole conversation in one node. It becomes the graph of the pack's other nodes, one chain per turn whose answer is missing.

    ACE Conversation (links to models, a record)
      └─ Turns (the models themselves: their signature gives the keys of the answers)
           ├─ Record Picture · Condition Unit · Long-context Unit                     every turn
           ├─ Condition Tokenizer · Image Indicator · Sampler · VAE Decode · …         turns without a saved answer
           ├─ Answer                                                                  every turn: saves or opens its picture
           └─ Branch                                                                  what comes out
"""

import hashlib
import time
from collections import OrderedDict
from dataclasses import replace
from functools import cache

from comfy.samplers import SAMPLER_NAMES
from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder

from ..ace_model import outpaint
from ..ace_model.comfyui import graph as graphs
from ..ace_model.comfyui import pictures
from ..ace_model.comfyui.signature import signature
from ..ace_model.errors import InputError
from ..ace_model.record import Answer, Picture, RecordError, Turn, hash_of
from ..ace_model.record_json import read, write
from .types import CATEGORY, LongContextUnitType

OUTSIDE = "\0"  # no node in a graph for `expand` has this name
CONNECTED = Picture("the connected picture]")  # no record can hold a name that ends so
OUTPUTS = [io.Image.Output(display_name="image", tooltip="The answer that is looked at."),
           io.Image.Output(display_name="images", is_output_list=True, tooltip="All answers up to it, oldest first."),
           LongContextUnitType.Output(display_name="lcu", tooltip="The conversation up to it, for history of ACE Long-context "
                                                                  "Unit.")]
# Inside, all answers are one value: a list that passes through an expansion would push the outputs behind it aside.
INSIDE = [io.Image.Output(), io.AnyType.Output(), LongContextUnitType.Output()]


class ConversationNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorConversation",
            display_name="ACE Conversation",
            category=CATEGORY,
            description="A conversation about pictures. Every answer is kept as a file, so only new turns run.",
            search_aliases=["ACE chat", "talk to your pictures", "multi-turn", "chat edit"],
            inputs=[
                io.Model.Input("model", raw_link=True, tooltip="From Load ACE Model."),
                io.Clip.Input("clip", raw_link=True, tooltip="From Load ACE Text Encoder."),
                io.Vae.Input("vae", raw_link=True, tooltip="The VAE of Stable Diffusion 1.x."),
                io.Image.Input("image", optional=True, raw_link=True,
                               tooltip="The picture that a first turn without pictures calls {image}."),
                io.String.Input("record", multiline=True, dynamic_prompts=False, default='{"version": 1, "turns": []}',
                                tooltip="The conversation as JSON. docs/record.md explains it."),
            ],
            outputs=OUTPUTS,
            enable_expand=True,
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, record=None):
        try:
            if record is not None:
                read(record)
        except RecordError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, record=None, **_):
        return fingerprint(record)

    @classmethod
    def execute(cls, model, clip, vae, record, image=None) -> io.NodeOutput:
        links = {"model": model, "clip": clip, "vae": vae} | ({"image": image} if image else {})
        return expand({"turns": graphs.node("ACEEditorTurns", record=record, **{name: outside(name) for name in links})},
                      links, *(["turns", i] for i in range(len(OUTPUTS))))


class ConversationTurnsNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return part("ACEEditorTurns", [
            io.Model.Input("model"), io.Clip.Input("clip"), io.Vae.Input("vae"), io.Image.Input("image", optional=True),
            io.String.Input("record")], INSIDE, enable_expand=True, hidden=[io.Hidden.dynprompt, io.Hidden.unique_id])

    @classmethod
    def fingerprint_inputs(cls, record=None, **_):
        return fingerprint(record)

    @classmethod
    def execute(cls, model, clip, vae, record, image=None) -> io.NodeOutput:
        text, record = record, read(record)
        if record.at is None:
            raise RecordError("record has no turn yet: write the first instruction in the ACE panel (sidebar), or put a turn "
                              "into turns.")
        for turn in record.needed():
            if turn.settings.sampler not in SAMPLER_NAMES:
                raise RecordError(f"settings.sampler of turn {turn.id} is {turn.settings.sampler}, which this ComfyUI does not "
                                  "have: use euler, the reference's, or another that KSamplerSelect lists.")
        if image is not None:
            record = replace(record, turns=tuple(
                turn if turn.parent or turn.images else replace(turn, images=(CONNECTED,)) for turn in record.turns))

        @cache
        def digest(picture: Picture) -> str:
            return hashlib.sha256(image.cpu().contiguous().numpy()).hexdigest() if picture == CONNECTED else pictures.digest(
                picture)

        maker, whole = signature(model, clip.patcher, vae.patcher), cache(pictures.is_whole)
        keys = record.keys(maker, digest, whole)
        known = {turn.id: turn.answer for turn in record.turns if turn.answer and turn.answer.key == keys.get(turn.id)
                 and whole(turn.answer)}  # what is written goes to the key's own file, whatever a record says
        answers = {name: known.get(name) or pictures.answer_for(key) for name, key in keys.items()}
        expect(text, list(answers.values()))
        graph, after = {}, write(read(text).answered(answers))
        for turn in record.needed():
            graph |= turn_graph(turn, answers[turn.id], whole(answers[turn.id]))
            graph[f"{turn.id} answer"]["inputs"] |= {"record": text, "answered": after, "maker": hash_of(maker)}
        branch = [turn.id for turn in record.branch()]
        graph["branch"] = graphs.node("ACEEditorConversationBranch", lcu=[f"{record.at} lcu", 0], **{
            f"image{i}": [f"{name} answer", 0] for i, name in enumerate(branch)})
        links = cls.hidden.dynprompt.get_node(cls.hidden.unique_id)["inputs"]
        return expand(graph, links, *(["branch", i] for i in range(len(OUTPUTS))))


def turn_graph(turn: Turn, answer: Answer, kept: bool) -> dict:
    """Nodes `<id> unit`, `<id> lcu` and `<id> answer`; unless its file is kept, those that make the answer."""
    key, chosen, target, graph = turn.id, turn.settings, turn.settings.target_image, {}

    def opened(picture: Picture, name: str, output: int) -> list:
        if picture == CONNECTED:
            return outside("image")
        if picture.answer_of and output == 0:
            return [f"{picture.answer_of} answer", 0]
        source = {"answer_of": [f"{picture.answer_of} answer", 0]} if picture.answer_of else {
            "file": picture.file, "place": picture.place}
        graph[f"{key} {name}"] = graphs.node("ACEEditorRecordPicture", **source)
        return [f"{key} {name}", output]

    images = [opened(picture, f"image {i}", 0) for i, picture in enumerate(turn.images)]
    masks = {i: opened(mask, f"mask {i}", 1) for i, mask in enumerate(turn.masks) if mask}
    if any(turn.room):
        graph[f"{key} room"] = graphs.node("ACEEditorPadForOutpainting", image=images[target], model=outside("model"), **dict(
            zip(outpaint.SIDES, turn.room, strict=True)), token_budget=chosen.token_budget, shrink_to_fit=True)
        images[target], masks[target] = [f"{key} room", 0], [f"{key} room", 1]
    graph[f"{key} unit"] = graphs.condition_unit(turn.instruction, images, masks, turn.blank, name_image=True)
    graph |= graphs.remember(key, [f"{key} unit", 0], [f"{turn.parent} lcu", 0] if turn.parent else None, chosen.max_rounds)
    graph[f"{key} answer"] = graphs.node("ACEEditorConversationAnswer", turn=key, key=answer.key, file=answer.file,
                                         place=answer.place)
    if kept:
        return graph
    models = {name: outside(name) for name in ("model", "clip", "vae")}
    graph |= graphs.encode(key, [f"{key} lcu", 0], **models, width=chosen.width, height=chosen.height, target_image=target,
                           token_budget=chosen.token_budget, negative=chosen.negative)
    graph |= graphs.sample(key, models["model"], seed=turn.seed, steps=chosen.steps, guidance=chosen.guidance,
                           rescale=chosen.rescale, sampler=chosen.sampler)
    graph |= graphs.decode(key, models["vae"])
    made = [f"{key} image", 0]
    if target in masks:
        graph[f"{key} paste"] = graphs.node("ACEEditorKeepUntouched", original=images[target], result=made, mask=masks[target],
                                            grow=chosen.grow, feather=chosen.feather)
        made = [f"{key} paste", 0]
    graph[f"{key} answer"]["inputs"]["image"] = made
    return graph


class RecordPictureNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return part("ACEEditorRecordPicture", [
            io.String.Input("file", default=""), io.String.Input("place", default=""),
            io.Image.Input("answer_of", optional=True)], [io.Image.Output(), io.Mask.Output()])

    @classmethod
    def fingerprint_inputs(cls, file="", place="", **_):
        return stamp(Picture(file, place)) if file else ""

    @classmethod
    def execute(cls, file="", place="", answer_of=None) -> io.NodeOutput:
        if answer_of is not None:
            return io.NodeOutput(answer_of, pictures.gray(answer_of))
        picture = Picture(file, place)
        return io.NodeOutput(pictures.open_picture(picture)[None], pictures.open_picture(picture, "L")[None])


class ConversationAnswerNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return part("ACEEditorConversationAnswer", [
            io.String.Input(name) for name in ("turn", "key", "maker", "file", "place", "record", "answered")] + [
            io.Image.Input("image", optional=True)], [io.Image.Output()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo], has_intermediate_output=True)

    @classmethod
    def fingerprint_inputs(cls, file, place, **_):
        return stamp(Picture(file, place))

    @classmethod
    def execute(cls, turn, key, maker, file, place, record, answered, image=None) -> io.NodeOutput:
        answer = Answer(file, place, key)
        if image is not None:
            pictures.save(image[0], answer, cls.hidden.prompt, replaced(cls.hidden.extra_pnginfo, record, answered))
        folder, _, name = file.rpartition("/")
        return io.NodeOutput(pictures.open_picture(Picture(file, place))[None], ui={"images": [
            {"filename": name, "subfolder": folder, "type": place}], "ace_answers": [
            {"turn": turn, "file": file, "in": place, "key": key, "maker": maker, "made": image is not None}]})


class ConversationBranchNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return part("ACEEditorConversationBranch", [LongContextUnitType.Input("lcu")], INSIDE, accept_all_inputs=True)

    @classmethod
    def execute(cls, lcu, **images) -> io.NodeOutput:
        shown = [images[name] for i in range(len(images)) if (name := f"image{i}") in images]
        if not shown:
            raise RecordError("this part of ACE Conversation needs images: leave it to ACE Conversation to make it.")
        return io.NodeOutput(shown[-1], shown, lcu)


def part(node_id: str, inputs: list, outputs: list, **more) -> io.Schema:
    """A node that only ACE Conversation makes. It is in no menu."""
    return io.Schema(node_id=node_id, display_name=f"{node_id} (part of ACE Conversation)", category=CATEGORY, is_dev_only=True,
                     description="Part of ACE Conversation.", inputs=inputs, outputs=outputs, **more)


def outside(name: str) -> list:
    """In a graph for `expand`: what is linked to input `name` of the node that runs."""
    return [OUTSIDE, name]


def expand(graph: dict, links: dict, *results: list) -> io.NodeOutput:
    """`graph` in place of the node that runs. links: that node's own, by input · results: links into the graph."""
    prefix = GraphBuilder.alloc_prefix()

    def absolute(value):  # nodes around this one may have any id, those in `graph`, too
        if not isinstance(value, list):
            return value
        return links[value[1]] if value[0] == OUTSIDE else [prefix + value[0], value[1]]

    return io.NodeOutput(*map(absolute, results), expand={prefix + name: {
        **node, "inputs": {key: absolute(value) for key, value in node["inputs"].items()}} for name, node in graph.items()})


_made: OrderedDict[str, list[Answer]] = OrderedDict()  # the answers of records that ran, to notice when a file is gone


def expect(record: str, answers: list[Answer]) -> None:
    _made[record] = answers
    _made.move_to_end(record)
    while len(_made) > 100:
        _made.popitem(last=False)


def fingerprint(record: str | None) -> str:
    """Changes when a picture of the record changed, or an answer is gone."""
    if record is None:
        return ""
    files = [p for turn in read(record).turns for p in (*turn.images, *turn.masks) if p and p.file]
    gone = not all(map(pictures.is_whole, _made.get(record, ())))
    return f"{[stamp(picture) for picture in files]} {time.time() if gone else ''}"


def stamp(picture: Picture) -> str:
    try:
        state = pictures.path_of(picture).stat()
    except (OSError, InputError):  # the run says what is wrong with it
        return "gone"
    return f"{state.st_size} {state.st_mtime_ns}"


def replaced(extra, old: str, new: str):
    """What is saved with a picture beside its graph: the record in its workflow is as after the run, so that it opens with this
    answer. Whoever uses the API may send anything in its place."""
    def inside(value):
        if isinstance(value, list):
            return [inside(each) for each in value]
        if not isinstance(value, dict):
            return value
        values = value.get("widgets_values")
        mine = value.get("type") == "ACEEditorConversation" and isinstance(values, list)
        return {key: inside(each) for key, each in value.items()} | ({"widgets_values": [
            new if each == old else each for each in values]} if mine else {})
    return inside(extra)
