"""What the engine needs of the pack's other rooms. Inside ComfyUI the pack is a package of some name and the engine lies in
it; a program, and a test, has the rooms side by side."""

if "." in __package__:
    from ..ace_model import config, drawing, errors, images, masks, opening, outpaint, record, record_json
    from ..starters import phrasings
    from ..training import data, files, formats
else:
    from ace_model import config, drawing, errors, images, masks, opening, outpaint, record, record_json
    from starters import phrasings
    from training import data, files, formats

__all__ = ["config", "data", "drawing", "errors", "files", "formats", "images", "masks", "opening", "outpaint", "phrasings",
           "record", "record_json"]
