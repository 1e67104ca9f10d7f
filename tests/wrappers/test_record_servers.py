"""The model that vLLM is to be asked with is the one that the other servers were."""

import json
from pathlib import Path

import numpy as np
import vlm_folders
from record_servers import reference


def test_a_model_with_longer_heads_is_the_same_model(tmp_path: Path) -> None:
    """vLLM's attention on CPUs knows no heads as short as the tiny model's."""
    model, processor = vlm_folders.build_llava(["the red car is safe"])
    folder = vlm_folders.save(tmp_path / "short", model, processor)
    vlm_folders.with_heads_of_32(folder, tmp_path / "long")
    config = json.loads((tmp_path / "long" / "config.json").read_text())
    assert config["text_config"]["head_dim"] == 32
    found = [
        reference(tmp_path / name, [0, 255], "<image>the red car", list("abcd"), " is")
        for name in ("short", "long")
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    assert np.ptp(found[0]) > 1e-3
