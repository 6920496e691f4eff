"""A synthetic world whose pictures are drawn from data, so that every edit has an exact answer.

world (what a scene is) · drawing (scene → primitives) · shapes (primitives → coverage) · render (→ pictures) · views
(maps, degradations and styles of a picture) · photographs (real pictures for the tasks that need no scene).
"""

from .render import PHOTO_SIZE, SIZE, Picture, image_of, render, render_each, to_image
from .world import Face, Figure, Scene, Sign, Thing, random_scene

__all__ = ["PHOTO_SIZE", "SIZE", "Face", "Figure", "Picture", "Scene", "Sign", "Thing", "image_of", "random_scene", "render",
           "render_each", "to_image"]
