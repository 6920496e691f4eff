"""Development only: a real ComfyUI started and driven, a real browser, tiny models in the published layouts, the gallery."""
