"""Published dual encoders under short names, with their size: ``make_scorer("clip:vit-l-14")``.

| name          | checkpoint                               | parameters | weights, float32 / half |
|---------------|------------------------------------------|-----------:|------------------------:|
| vit-b-32      | openai/clip-vit-base-patch32             |      151 M |           0.6 /  0.3 GB |
| vit-l-14      | openai/clip-vit-large-patch14            |      428 M |           1.7 /  0.9 GB |
| vit-h-14      | laion/CLIP-ViT-H-14-laion2B-s32B-b79K    |      986 M |           3.9 /  2.0 GB |
| vit-bigg-14   | laion/CLIP-ViT-bigG-14-laion2B-39B-b160k |    2,540 M |          10.2 /  5.1 GB |
| siglip-b-16   | google/siglip-base-patch16-224           |      203 M |           0.8 /  0.4 GB |
| siglip-so400m | google/siglip-so400m-patch14-384         |      878 M |           3.5 /  1.8 GB |
| siglip2-b-16  | google/siglip2-base-patch16-224          |      375 M |           1.5 /  0.8 GB |

The first four are those that VL-SAFE (arXiv 2505.16377) compares; which one it settles on is not
public.  VLM-RL, of the same group, uses ViT-bigG-14.  Parameters count both encoders.  Besides the
weights, a forward pass takes about 4 MB for each frame of the batch with vit-b-32 and 26 MB with
vit-l-14 (measured in float32 on a CPU), more with the wider ones.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """A published checkpoint and its size."""

    checkpoint: str  # hub name
    parameters: int  # of both encoders
    image_size: int  # [px], height and width that the model sees

    def weights_gigabytes(self, bytes_a_number: int = 4) -> float:
        """Memory of the weights [GB]: 4 bytes a number for float32, 2 for half precision."""
        return self.parameters * bytes_a_number / 1e9


BACKBONES = {
    "vit-b-32": Backbone("openai/clip-vit-base-patch32", 151_277_313, 224),
    "vit-l-14": Backbone("openai/clip-vit-large-patch14", 427_616_513, 224),
    "vit-h-14": Backbone("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 986_109_441, 224),
    "vit-bigg-14": Backbone("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", 2_539_567_105, 224),
    "siglip-b-16": Backbone("google/siglip-base-patch16-224", 203_155_970, 224),
    "siglip-so400m": Backbone("google/siglip-so400m-patch14-384", 877_960_498, 384),
    "siglip2-b-16": Backbone("google/siglip2-base-patch16-224", 375_187_970, 224),
}
PAPER_BACKBONES = ("vit-b-32", "vit-l-14", "vit-h-14", "vit-bigg-14")


def checkpoint_of(name: str) -> str:
    """The hub name of a short name; anything else (a hub name, a folder) as it is."""
    backbone = BACKBONES.get(name)
    return name if backbone is None else backbone.checkpoint
