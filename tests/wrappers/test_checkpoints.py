"""Checkpoints are loaded whole or refused, whichever of their files is missing, cut or foreign."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_folders import TINY, write_tiny_clip
from safetensors.torch import load_file, save_file
from siglip_folders import build_tokenizer as siglip_tokenizer
from siglip_folders import write_tiny_siglip
from vlm_folders import build_llava, grey_frames, save, write_qwen2_vl

from wrappers import ClipScorer, Prompts
from wrappers.clip_training.model import ModelConfig, build_processor, build_tokenizer
from wrappers.generative.local_scorer import LocalQuestion, LocalVLMScorer

ANY_MASS = LocalQuestion(least_mass=0.0)
WORDS = [ANY_MASS.text(1), "yes no Yes No"]
KINDS = ("clip", "siglip", "llava")


def noise(count: int = 4) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 48, 48, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("checkpoints")
    write_tiny_clip(root / "clip")
    write_tiny_siglip(root / "siglip")
    save(root / "llava", *build_llava(WORDS))
    return {kind: root / kind for kind in KINDS}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, originals: dict[str, Path], tmp_path: Path) -> Path:
    return copy(originals[request.param], tmp_path)


@pytest.fixture
def clip(originals: dict[str, Path], tmp_path: Path) -> Path:
    return copy(originals["clip"], tmp_path)


def copy(original: Path, root: Path) -> Path:
    return Path(shutil.copytree(original, root / original.name))


def load(folder: Path) -> Any:
    if folder.name == "llava":
        return LocalVLMScorer(folder, ANY_MASS)
    return ClipScorer(folder)


def refusal(folder: Path, load: Callable[[Path], Any] = load) -> str:
    with pytest.raises(ValueError) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def change_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def change_json(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def test_a_sound_checkpoint_is_loaded(folder: Path) -> None:
    assert not np.isnan(load(folder)(noise())).any()


def test_no_weight_may_be_missing(folder: Path) -> None:
    names = sorted(load_file(folder / "model.safetensors"))
    for name in names[:: max(len(names) // 4, 1)]:
        original = (folder / "model.safetensors").read_bytes()
        change_weights(folder, lambda weights, name=name: weights.pop(name))
        said = refusal(folder)
        assert "it lacks 1 weights" in said
        assert "at random" in said
        (folder / "model.safetensors").write_bytes(original)


def test_no_weight_may_be_foreign(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"head.weight": torch.zeros(3)}))
    assert "holds 1 weights that its" in refusal(folder)


def test_a_smaller_config_is_not_that_of_the_weights(clip: Path) -> None:
    change_json(clip, "config.json", lambda c: c["text_config"].update(intermediate_size=16))
    assert "they belong to different models" in refusal(clip)


@pytest.mark.parametrize(
    ("key", "value"),
    [("vocab_size", 10**8), ("hidden_size", 10**9), ("num_hidden_layers", 10**9)],
)
def test_sizes_that_would_take_all_memory_are_refused_before(
    clip: Path, key: str, value: int
) -> None:
    change_json(clip, "config.json", lambda c: c["text_config"].update({key: value}))
    assert f"text_config.{key} = {value:,}, far more than" in refusal(clip)
    change_json(clip, "config.json", lambda c: c["text_config"].update({key: 16}))
    change_json(clip, "config.json", lambda c: c["vision_config"].update(image_size=10**6))
    assert "vision_config.image_size" in refusal(clip)


@pytest.mark.parametrize("change", [{"vocab_size": -5}, {"hidden_size": "wide"}, {"k": [1] * 9}])
def test_an_odd_config_is_refused_or_read_but_never_a_traceback(
    clip: Path, change: dict[str, Any]
) -> None:
    change_json(clip, "config.json", lambda c: c["text_config"].update(change))
    if "k" in change:
        load(clip)
    else:
        assert "cannot load a CLIP checkpoint" in refusal(clip)


def test_buffers_that_older_versions_stored_are_no_fault(clip: Path) -> None:
    ids = {"text_model.embeddings.position_ids": torch.arange(TINY.caption_tokens)[None]}
    change_weights(clip, lambda weights: weights.update(ids))
    assert not np.isnan(load(clip)(noise())).any()


def test_weights_that_are_tied_need_not_be_stored(originals: dict[str, Path]) -> None:
    model, processor = build_llava(WORDS)
    model.config.text_config.tie_word_embeddings = True
    model.config.tie_word_embeddings = True
    model.tie_weights()
    folder = save(originals["llava"].parent / "tied" / "llava", model, processor)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert not np.isnan(load(folder)(noise())).any()


FAULTY = {
    "empty": b"",
    "cut": b'{"model_type": "cli',
    "latin": '{"a": "sûr"}'.encode("latin-1"),
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n",
    "page": b"<!doctype html><html>sign in</html>",
    "list": b"[]",
}


@pytest.mark.parametrize("fault", FAULTY)
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"]
)
def test_a_faulty_json_file_is_named(clip: Path, name: str, fault: str) -> None:
    (clip / name).write_bytes(FAULTY[fault])
    assert str(clip / name) in refusal(clip)


@pytest.mark.parametrize("fault", ["empty", "half", "pointer", "page", "header", "huge header"])
def test_faulty_weights_are_named(folder: Path, fault: str) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    broken = {
        "half": content[: len(content) // 2],
        "header": b"\xff" * 8 + content[8:],
        "huge header": (1 << 40).to_bytes(8, "little") + content[8:],
    }
    path.write_bytes(broken.get(fault) or FAULTY.get(fault, b""))
    assert str(path) in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_missing_file_is_an_error_with_a_remedy(clip: Path, name: str) -> None:
    (clip / name).unlink()
    said = refusal(clip)
    assert "missing" in said or "save_pretrained" in said


def test_without_tokenizer_there_is_no_scorer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    refusal(folder)


def test_a_tokenizer_of_another_model_is_refused(clip: Path, tmp_path: Path) -> None:
    def write(size: int) -> None:
        words = [f"{a}{b}" for a in "bcdfgklmnprst" for b in ("ar", "en", "ing", "oad", "ight")]
        config = ModelConfig(vocabulary=size)
        tokenizer = build_tokenizer([*words, " ".join(words)], config)
        tokenizer.model_max_length = TINY.caption_tokens
        tokenizer.save_pretrained(clip)

    write(1500)
    assert "they do not belong together" in refusal(clip)
    change_json(clip, "config.json", lambda c: c["text_config"].update(eos_token_id=5))
    write(600)  # small enough
    assert "does not find the end" in refusal(clip)


def test_a_tokenizer_that_knows_no_word_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_siglip(tmp_path / "siglip")
    strange = Prompts(("völlig fremd",), ("a crash on the road",))
    with pytest.raises(ValueError, match="knows no word of 'völlig fremd'"):
        ClipScorer(folder, strange)
    assert siglip_tokenizer()("völlig")["input_ids"][0] == 0


def test_an_image_processor_of_another_model_is_refused(clip: Path) -> None:
    build_processor(ModelConfig(frame_size=48, image_size=48, patch_size=12)).save_pretrained(clip)
    assert "pictures of (48, 48) px and its model takes 24 px" in refusal(clip)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_std": [0, 0, 0]}, "pixels that are not finite"),
        ({"rescale_factor": 0}, "image processor"),
        ({"size": {"shortest_edge": 10**8}}, "makes pictures of"),
        ({"crop_size": {"height": 10**8, "width": 10**8}}, "makes pictures of"),
        ({"size": "large"}, "cannot load"),
    ],
)
def test_an_image_processor_of_odd_numbers_is_refused(
    clip: Path, change: dict[str, Any], said: str
) -> None:
    change_json(clip, "preprocessor_config.json", lambda c: c.update(change))
    with warnings.catch_warnings(action="ignore"):
        assert said in refusal(clip)


def test_a_tokenizer_without_its_merges_is_told(clip: Path) -> None:
    change_json(clip, "tokenizer.json", lambda c: c["model"].update(merges=[]))
    with pytest.warns(UserWarning, match="it may lack its merges"):
        ClipScorer(clip, Prompts(("all is well here",), ("an accident",)))


def test_a_shard_that_is_not_there_is_named(clip: Path) -> None:
    weights = load_file(clip / "model.safetensors")
    names = {name: f"model-{k % 2 + 1}.safetensors" for k, name in enumerate(sorted(weights))}
    for shard in set(names.values()):
        part = {name: weights[name] for name, where in names.items() if where == shard}
        save_file(part, clip / shard, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (clip / "model.safetensors.index.json").write_text(json.dumps(index))
    (clip / "model.safetensors").unlink()
    assert not np.isnan(load(clip)(noise())).any()
    (clip / "model-2.safetensors").unlink()
    assert "model-2.safetensors" in refusal(clip)


def test_code_that_lies_in_a_checkpoint_is_not_run(clip: Path, tmp_path: Path) -> None:
    marks = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil", "AutoTokenizer": "evil.Evil"}
    code = f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Evil: pass\n"
    (clip / "evil.py").write_text(code)
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        change_json(clip, name, lambda c: c.update(auto_map=marks))
    load(clip)
    change_json(clip, "config.json", lambda c: c.update(model_type="evil"))
    refusal(clip)
    (clip / "model.safetensors").unlink()
    torch.save({"a": Evil(str(tmp_path / "ran"))}, clip / "pytorch_model.bin")
    change_json(clip, "config.json", lambda c: c.update(model_type="clip"))
    refusal(clip)
    assert not (tmp_path / "ran").exists()


class Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def test_weights_that_are_not_finite_are_refused(clip: Path) -> None:
    original = (clip / "model.safetensors").read_bytes()
    for name in ("text_projection.weight", "visual_projection.weight"):
        change_weights(clip, lambda weights, name=name: weights[name].fill_(float("nan")))
        with pytest.raises(ValueError, match="not finite"):
            ClipScorer(clip)(noise())
        (clip / "model.safetensors").write_bytes(original)


def test_prompts_that_are_cut_are_named_with_what_is_lost(clip: Path) -> None:
    change_json(clip, "tokenizer_config.json", lambda c: c.update(model_max_length=8))
    with pytest.warns(UserWarning, match="'driving on a bridge' is cut off") as caught:
        ClipScorer(clip, Prompts(("the red car is driving on a bridge",), ("an accident",)))
    assert "the model reads 8:" in str(caught[0].message)


def test_sides_that_differ_only_in_what_is_cut_are_refused(clip: Path) -> None:
    words = "the red car is driving safely " * 20
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(ValueError, match="are the same to the model"),
    ):
        ClipScorer(clip, Prompts((words + "safely",), (words + "into a wall",)))


def test_sides_that_read_nearly_alike_are_told(clip: Path) -> None:
    with pytest.warns(UserWarning, match=r"\(nearly\) alike"):
        ClipScorer(clip, Prompts(("a red car",), ("a red car",)))
    with warnings.catch_warnings(action="error"):
        ClipScorer(clip, Prompts(("a red car",), ("a red car",)), form="cosine")
        ClipScorer(clip)


def test_a_first_batch_with_one_score_is_told(clip: Path) -> None:
    change_weights(clip, lambda weights: weights["visual_projection.weight"].zero_())
    with pytest.warns(UserWarning, match="same image features"):
        ClipScorer(clip)(noise())
    scorer = ClipScorer(clip)
    with pytest.warns(UserWarning, match="same image features"):
        [scorer(frame[None]) for frame in noise(20)]  # also one by one


def test_frames_that_are_equal_are_no_reason_to_warn(clip: Path) -> None:
    with warnings.catch_warnings(action="error"):
        scorer = ClipScorer(clip)
        scorer(np.repeat(noise(1), 9, axis=0))
        scorer(noise())


def test_a_generative_model_that_is_blind_is_refused_or_told(tmp_path: Path) -> None:
    model, processor = build_llava(WORDS)
    with torch.no_grad():
        for parameter in model.model.multi_modal_projector.parameters():
            parameter.zero_()
    folder = save(tmp_path / "llava", model, processor)
    with pytest.warns(UserWarning, match="same probabilities of its answers"):
        load(folder)(grey_frames([10, 240]))
    template = "{% for m in messages %}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}"
    processor.chat_template = template + "{% endfor %}assistant:"
    save(folder, model, processor)
    assert "its chat template leaves pictures out" in refusal(folder)


def test_a_model_that_also_sees_videos_needs_no_torchvision(tmp_path: Path) -> None:
    folder = write_qwen2_vl(tmp_path / "qwen", WORDS)
    scorer = LocalVLMScorer(folder, ANY_MASS)
    scores = scorer(grey_frames([10, 240], size=48))
    assert len(set(scores.tolist())) == 2
    assert scorer.identity["processor"] == "Qwen2VLImageProcessorPil"


def test_a_device_that_is_not_there_is_named(clip: Path) -> None:
    for device in ("abacus", "cuda:99", 3.5):
        with pytest.raises(ValueError, match=r"device=.*cannot be used here"):
            ClipScorer(clip, device=device)  # type: ignore[arg-type]
