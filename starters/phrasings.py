"""Phrasings of instructions for every task of ACE, with placeholders for pictures and gaps to fill in.

`{image}`, `{image1}` are the pictures. `[what]` and `[how]` are gaps: the subject, and what it should become.
"""

import re

GAPS = ("what", "how")
GAP = re.compile(r"\[(\w+)\]")
TEXT_TASKS = ("write text", "remove text")  # ACE needs spaces between the letters to write

PHRASINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "Text to image": {
        "create": ("[what]", "a picture of [what], [how]"),
    },
    "Analysis": {
        "segmentation": ("make a segmentation map of {image}", "colour every object of {image} in its own flat colour, as a "
                         "segmentation map", "segment [what] in {image}"),
        "depth": ("make a depth map of {image}", "show how far away everything in {image} is, as a depth map",
                  "estimate the depth of {image}"),
        "pose": ("draw the pose skeleton of the person in {image}", "detect the body pose in {image}"),
        "scribble": ("turn {image} into a rough scribble", "redraw {image} as a simple doodle of a few lines"),
        "contour": ("trace the contours of {image}", "draw the outlines of the objects in {image}"),
        "edges": ("make an edge map of {image}", "detect the edges in {image}, white lines on black"),
        "mosaic": ("turn {image} into a mosaic of coarse squares", "pixelate {image}"),
        "blur": ("blur {image}", "make {image} look out of focus"),
        "grayscale": ("turn {image} into a grayscale picture", "take the colour out of {image}"),
    },
    "Controllable generation": {
        "from segmentation": ('make a picture from the segmentation map {image}: "[what]"',
                              'fill the regions of the segmentation map {image} to show "[what]"'),
        "from depth": ('make a picture that follows the depth map {image}: "[what]"',
                       'with the depth of {image}, create "[what]"'),
        "from pose": ('make a picture of a person in the pose of {image}: "[what]"',
                      'follow the skeleton in {image} and create "[what]"'),
        "from scribble": ('turn the scribble {image} into a finished picture: "[what]"',
                          'from the doodle {image}, create "[what]"'),
        "from contour": ('paint the outlines of {image} as "[what]"', 'follow the contours of {image} to create "[what]"'),
        "from edges": ('make a picture from the edge map {image}: "[what]"', 'follow the edges of {image} to create "[what]"'),
        "from mosaic": ('restore a sharp picture from the mosaic {image}: "[what]"', "undo the pixelation of {image}"),
        "colourise": ('give the grayscale picture {image} natural colours: "[what]"', "colourise {image}"),
        "deblur": ("make {image} sharp again", 'remove the blur from {image}, which shows "[what]"'),
        "denoise": ("remove the noise from {image}", "clean up the grain in {image}"),
    },
    "Semantic editing": {
        "expression": ("make the person in {image} [what]", "change the expression of the face in {image} to [what]"),
        "hair": ("give the person in {image} [what] hair", "change the hair in {image} to [what]"),
        "glasses": ("put [what] glasses on the face in {image}", "let the person in {image} wear [what] glasses"),
        "gaze": ("let the person in {image} look [what]", "turn the gaze in {image} [what]"),
        "pose": ("change {image} so that [what] [how]", "let [what] in {image} [how]"),
        "colour": ("change the colour of [what] in {image} to [how]", "make [what] in {image} [how]"),
        "background": ("put the subject of {image} in front of [what]", "replace the background of {image} with [what]"),
        "lighting": ("show {image} in the light of [what]", "relight {image}: [what]"),
        "style": ("turn {image} into [what]", "repaint {image} in the style of [what]"),
        "style of a picture": ("repaint {image} in the style of {image1}", "keep the content of {image} and take colours and "
                               "brush strokes from {image1}"),
    },
    "Element editing": {
        "add object": ("add [what] to {image}", "place [what] in the marked region of {image}", "add [what] [how] in {image}"),
        "remove object": ("remove [what] from {image}", "take [what] out of {image} and fill the place"),
        "replace object": ("replace [what] in {image} with [how]", "turn [what] in {image} into [how]"),
        "write text": ('write "[what]" in the marked region of {image}', 'add the words "[what]" to {image}'),
        "remove text": ('remove the text "[what]" from {image}', "remove all text from the marked region of {image}"),
    },
    "Repainting": {
        "inpainting": ("fill the blank region of {image} with [what]", "repaint the missing part of {image}: [what]",
                       "complete {image}"),
        "outpainting": ("extend {image} beyond its borders", "continue {image} on all sides: [what]"),
    },
    "Layer editing": {
        "fuse layers": ("place the subject of {image} naturally into {image1}", "merge the foreground {image} with the "
                        "background {image1} into one picture"),
        "split layers, subject": ("cut out [what] from {image} and put it on a plain white background",
                                  "extract the foreground layer of {image}"),
        "split layers, background": ("remove [what] from {image} and leave the background layer",
                                     "extract the background layer of {image}"),
    },
    "Reference generation": {
        "subject": ("show the subject of {image} [what]", "make a new picture of [what] from {image}, [how]"),
        "face": ("make a portrait of the person in {image} [what]", "keep the face of {image}: [what]"),
        "several references": ("combine [what] of {image} with [how] of {image1}",
                               "put [what] of {image} and [how] of {image1} into the scene of {image2}"),
        "try-on": ("dress the person in {image} in the garment of {image1}", "let the model in {image} wear [what] from "
                   "{image1}"),
    },
    "Conversation": {
        "undo a part": ("bring back [what] as it was in {previous.image}", "restore [what] from {previous.image} in {image}"),
        "borrow": ("give [what] in {image} the colour it had in {previous.image}", "put [what] of {previous.image} into "
                   "{image}"),
    },
}
TASKS = tuple(f"{task}: {subtask}" for task, subtasks in PHRASINGS.items() for subtask in subtasks)


class PhrasingError(ValueError):
    """A task, number or gap that has no phrasing."""


def phrase(task: str, number: int = 1, what: str = "", how: str = "") -> str:
    """Phrasing `number` (from 1) of a task, as named in TASKS, with its gaps filled.

    Puts spaces between the letters of text to write, as ACE needs it. Raises PhrasingError.
    """
    choices = phrasings(task)
    if not 1 <= number <= len(choices):
        raise PhrasingError(f"phrasing is {number}, but “{task}” has {len(choices)}: choose 1 to {len(choices)}.")
    text = choices[number - 1]
    if task.endswith(TEXT_TASKS):
        what = spell(what)
    given = {"what": " ".join(what.split()), "how": " ".join(how.split())}
    missing = [gap for gap in GAP.findall(text) if not given[gap]]
    if missing:
        raise PhrasingError(f"“{text}” needs {missing[0]}, but {missing[0]} is empty: fill it in, or choose another "
                            "phrasing.")
    return GAP.sub(lambda match: given[match[1]], text)


def phrasings(task: str) -> tuple[str, ...]:
    """All phrasings of a task. Raises PhrasingError for an unknown task."""
    group, _, subtask = task.partition(": ")
    choices = PHRASINGS.get(group, {}).get(subtask)
    if choices is None:
        known = ", ".join(f"{group}: {name}" for name in PHRASINGS[group]) if group in PHRASINGS else ", ".join(PHRASINGS)
        raise PhrasingError(f"there is no task “{task}”: choose one of {known}.")
    return choices


def spell(text: str) -> str:
    """Put spaces between letters: “NO EXIT” → “N O E X I T”."""
    return " ".join("".join(text.split()))
