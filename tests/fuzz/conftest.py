"""ComfyUI and the pack in this process, as the parity tests have them."""

from tests.parity.conftest import comfy, pack

__all__ = ["comfy", "pack"]
