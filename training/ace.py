"""What of the pack's model the data part needs. Inside ComfyUI the pack is a package of some name and training lies in it; a
program, and a test, has training and ace_model side by side."""

if "." in __package__:
    from ..ace_model import config, errors, images, lcu, masks, opening, record, record_json, text
else:
    from ace_model import config, errors, images, lcu, masks, opening, record, record_json, text

__all__ = ["config", "errors", "images", "lcu", "masks", "opening", "record", "record_json", "text"]
