"""Phrasings of instructions for every task of ACE, with placeholders for pictures and gaps to fill in.

`{image}`, `{image1}` are the pictures. `[what]` and `[how]` are gaps: the subject, and what it should become.
The wording stays near the one that the published weights were trained on: captions in straight quotes and called a
caption or description, "the mask" where one goes in, often just `{image}` and a few words.
"""

import re

GAP = re.compile(r"\[(\w+)\]")
SPELLED = ("Element editing: write text",)  # ACE reads letters to be written one by one

PHRASINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "Text to image": {
        "create": ("[what]", "an image of [what], [how]"),
    },
    "Analysis": {
        "segmentation": ("make a segmentation map of {image}", "{image} Segmentation",
                         "divide {image} into its objects and give each a color of its own, as a segmentation map"),
        "segmentation, one thing": ("segment [what] in {image}", "{image} Segmentation of [what]"),
        "depth": ("make a depth map of {image}", "{image} Depth Estimation", "estimate the depth of everything in {image}"),
        "pose": ("detect the body pose of the person in {image}", "{image} Pose Estimation",
                 "draw the pose skeleton of the person in {image}"),
        "scribble": ("turn {image} into a rough scribble", "{image} Scribble", "redraw {image} as a simple doodle"),
        "contour": ("extract the contours of {image}", "{image} Contour Extraction", "make a contour map of {image}"),
        "edges": ("make an edge map of {image}", "{image} Edge Detection", "detect the edges in {image}"),
        "mosaic": ("turn {image} into a mosaic of coarse squares", "{image} Mosaic", "pixelate {image}"),
        "blur": ("blur {image}", "{image} Blurring", "make {image} look out of focus"),
        "grayscale": ("turn {image} into a grayscale image", "{image} Grayscale", "take the color out of {image}"),
    },
    "Controllable generation": {
        "from segmentation": ('create an image from the segmentation map {image} in accordance with the description "[what]"',
                              '{image} segmentation to image, caption "[what]"'),
        "from depth": ('create an image that follows the depth map {image} in accordance with the description "[what]"',
                       '{image} depth to image, caption "[what]"'),
        "from pose": ('create an image of a person in the pose of {image} in accordance with the description "[what]"',
                      '{image} pose to image, caption "[what]"'),
        "from scribble": ('turn the scribble {image} into a finished image in accordance with the description "[what]"',
                          'create a lifelike image based on the doodle {image} and the caption "[what]"',
                          '{image} scribble to image, caption "[what]"'),
        "from contour": ('create a vivid image based on the contours in {image} and the description "[what]"',
                         'follow the contours of {image} and make a colorful image as per the caption "[what]"'),
        "from edges": ('create a vivid image based on the edges in {image} and the description "[what]"',
                       'follow the edge map {image} and make a colorful image as per the caption "[what]"'),
        "from mosaic": ('turn the mosaic {image} back into a clear image in accordance with the caption "[what]"',
                        'remove the mosaic from {image} as per the description "[what]"'),
        "colorize": ('turn the grayscale {image} into a colorful image in accordance with the caption "[what]"',
                     'add natural color to {image} as per the description "[what]"'),
        "deblur": ('make the blurred {image} sharp again in accordance with the caption "[what]"', "{image} Deblurring"),
        "denoise": ('remove the noise from {image} in accordance with the caption "[what]"', "{image} Denoising"),
    },
    "Semantic editing": {
        "expression": ("make the person in {image} look [what]", "{image} [what] face",
                       "change the expression of the face in {image} to [what]"),
        "hair": ("give the person in {image} [what] hair", "{image} [what] hair", "change the hair in {image} to [what] hair"),
        "glasses": ("put [what] glasses on the person in {image}", "{image} [what] glasses"),
        "gaze": ("make the person in {image} look [what]", "{image} looking [what]",
                 "turn the gaze of the person in {image} [what]"),
        "pose": ("change the pose of [what] in {image} to [how]", "{image} [what] [how]", "show [what] of {image} [how]"),
        "color": ("change the color of [what] in {image} to [how]", "{image} [what] in [how]", "make [what] in {image} [how]"),
        "background": ("change the background of {image} to [what]", "{image} with [what] in the background",
                       "replace the background of {image} with [what]"),
        "lighting": ("show {image} in the light of [what]", "{image} in the light of [what]"),
        "style": ("change the style of {image} to [what] style", "{image} [what] style",
                  "turn {image} into an image of [what] style"),
        "style of a picture": ("edit {image} based on the style of {image1}", "{image} in the style of {image1}",
                               "keep the content of {image} and change its style to that of {image1}"),
    },
    "Element editing": {
        "add object": ("add [what] to {image}", "{image} add [what]", "add [what] to {image}, [how]"),
        "add object (mask)": ("add [what] to {image} in the area indicated by the mask", "{image} add [what] per the mask",
                              "place [what] in the mask area of {image}"),
        "remove object": ("remove [what] from {image}", "{image} remove [what]"),
        "remove object (mask)": ("remove the contents of the mask from {image}", "{image} clear the mask area",
                                 "take away whatever the mask marks in {image}"),
        "replace object": ("replace [what] in {image} with [how]", "{image} replace [what] with [how]",
                           "turn [what] in {image} into [how]"),
        "replace object (mask)": ("replace the contents of the mask in {image} with [what]", "{image} [what] per the mask",
                                  "change whatever the mask marks in {image} into [what]"),
        "write text": ('write the text "[what]" in the mask area of {image}', '{image} text "[what]" per the mask',
                       'add the text "[what]" to {image} in the space indicated by the mask'),
        "remove text": ("remove any text from {image}", "{image} remove any text", "erase any textual element in {image}"),
        "remove text (mask)": ("remove any text in the mask area of {image}", "{image} remove any text per the mask",
                               "erase any textual element that the mask marks in {image}"),
    },
    "Repainting": {
        "inpainting": ('fill the mask portion of {image} in accordance with the description "[what]"',
                       '{image} fill the mask area, caption "[what]"', "complete {image} in the area indicated by the mask"),
        "outpainting": ('extend {image} into the mask area in accordance with the description "[what]"',
                        '{image} extend per the mask, caption "[what]"', "continue {image} in the area indicated by the mask"),
    },
    "Layer editing": {
        "fuse layers": ("place the subject of {image1} naturally into {image}",  # the answer has the size of {image}
                        "merge the background {image} with the foreground {image1} into one image"),
        "split layers, subject": ("cut out [what] from {image} and put it on a plain white background",
                                  "extract the foreground layer of {image}"),
        "split layers, background": ("remove [what] from {image} and leave the background layer",
                                     "extract the background layer of {image}"),
    },
    "Reference generation": {
        "subject": ("create an image of the subject of {image} [what]", "{image} the same subject [what]"),
        "face": ("create a portrait of the person in {image} [what]", "{image} the same person [what]"),
        "several references": ("combine [what] of {image} with [how] of {image1}",
                               "put [what] of {image} and [how] of {image1} into the scene of {image2}"),
        "try-on": ("dress the person in {image} in the garment of {image1}",
                   "let the person in {image} wear the garment of {image1}",
                   "let the person in {image} wear [what] from {image1}"),
    },
    "Conversation": {  # if each turn edits the answer before, {previous.image} is the picture before the last change
        "undo a part": ("bring back [what] in {image} as it was in {previous.image}",
                        "restore [what] of {previous.image} in {image}"),
        "undo a part, two turns back": ("bring back [what] in {image} as it was in {previous2.image}",
                                        "restore [what] of {previous2.image} in {image}"),
        "borrow": ("give [what] in {image} the color it had in {previous.image}",
                   "put [what] of {previous.image} into {image}"),
    },
}

# Instructions that speak of the mask. Try-on takes one too, but the published weights were never told of it.
MASKED = frozenset({"Element editing: add object (mask)", "Element editing: remove object (mask)",
                    "Element editing: replace object (mask)", "Element editing: remove text (mask)",
                    "Element editing: write text", "Repainting: inpainting", "Repainting: outpainting"})
# Nothing that the authors published shows that the weights learned these.
EXPERIMENTAL = frozenset({"Analysis: segmentation, one thing", "Semantic editing: lighting",
                          "Layer editing: split layers, subject", "Layer editing: split layers, background",
                          *(f"Conversation: {subtask}" for subtask in PHRASINGS["Conversation"])})
MARK = " (experimental)"
TASKS = tuple(task + MARK * (task in EXPERIMENTAL)
              for task in (f"{group}: {subtask}" for group, subtasks in PHRASINGS.items() for subtask in subtasks))

RENAMED = {"Semantic editing: colour": "Semantic editing: color",  # graphs saved before have these
           "Controllable generation: colourise": "Controllable generation: colorize"}


class PhrasingError(ValueError):
    """A task, number or gap that has no phrasing."""


def phrase(task: str, number: int = 1, what: str = "", how: str = "") -> str:
    """Phrasing `number` (from 1) of a task, as named in TASKS, with its gaps filled.

    Text to write is spelled in capitals with spaces between them, as ACE needs it. Raises PhrasingError.
    """
    choices = phrasings(task)
    if not 1 <= number <= len(choices):
        raise PhrasingError(f"phrasing is {number}, but “{task}” has {len(choices)}: choose 1 to {len(choices)}.")
    text = choices[number - 1]
    if task in SPELLED:
        what = spell(what)
    given = {"what": " ".join(what.split()), "how": " ".join(how.split())}
    missing = [gap for gap in GAP.findall(text) if not given[gap]]
    if missing:
        raise PhrasingError(f"“{text}” needs {missing[0]}, but {missing[0]} is empty: fill it in, or choose another "
                            "phrasing.")
    return GAP.sub(lambda match: given[match[1]], text)


def phrasings(task: str) -> tuple[str, ...]:
    """All phrasings of a task, with or without the mark, by its name today or before. Raises PhrasingError for others."""
    plain = task.removesuffix(MARK)
    group, _, subtask = RENAMED.get(plain, plain).partition(": ")
    choices = PHRASINGS.get(group, {}).get(subtask)
    if choices is None:
        known = ", ".join([name for name in TASKS if name.startswith(f"{group}: ")] or PHRASINGS)
        raise PhrasingError(f"there is no task “{task}”: choose one of {known}.")
    return choices


def spell(text: str) -> str:
    """Put letters apart, in capitals: “No exit” → “N O E X I T”."""
    return " ".join("".join(text.upper().split()))
