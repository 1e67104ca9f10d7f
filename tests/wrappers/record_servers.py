"""Ask real servers, and keep what they answered in ``recorded/`` for the tests.

Makes a tiny LLaVA, teaches it our questions about evenly grey pictures, starts the server on the
loopback interface, and has our scorers ask it.  What the servers need is not among this project's
packages; put it into a folder of its own::

    pip install --target /tmp/serving fastapi uvicorn
    pip install --target /tmp/serving --no-deps accelerate
    pip install --target /tmp/llama --no-deps xllamacpp gguf
    python tests/wrappers/record_servers.py transformers --packages /tmp/serving
    python tests/wrappers/record_servers.py llama.cpp --packages /tmp/llama
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import vlm_folders
from gguf_folders import write_gguf
from recorded_server import FOLDER, RecordingServer, frames_of

from wrappers import make_scorer
from wrappers.generative.chat_scorer import ChatServerError
from wrappers.generative.question import Question
from wrappers.generative.typed_question import TypedQuestion

SIDE, STEPS = 48, 400  # [px] of what the model sees, 36 tokens; steps of its lessons
LEVELS = [0, 85, 170, 255]  # of grey; black is taught to be unsafe
SINGLE = {"levels": LEVELS}
PAIRS = {"levels": [[0, 255], [255, 0]]}
LLAMA = """
import sys, time, xllamacpp
folder, port, alias = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path, params.mmproj.path = f"{folder}/model.gguf", f"{folder}/mmproj.gguf"
params.n_ctx, params.n_parallel, params.model_alias = 2048, 1, [alias]
params.cpuparams.n_threads = 1
params.hostnames, params.port = ["127.0.0.1"], int(port)
server = xllamacpp.Server(params)
while True:
    time.sleep(1)
"""


def typed_words(answer: str, lead: str = "\n") -> str:
    """What `transformers serve` makes of a typed question, after its picture.

    Our placeholder has a line of its own, so that from 5.23 on there is a ``lead``.
    """
    question = TypedQuestion(answer=answer)
    if question.levels is None:
        lines, closing = [], "Answer Yes or No only."
    else:
        lines = [
            f"{letter}. {level}" for letter, level in zip("ABCDE", question.levels, strict=True)
        ]
        closing = "Answer with the letter of the level that fits best (A to E) only."
    asked = "\n".join([question.identity["request"], *lines, closing])
    return f"{lead}{question.text(1)}\n\n{asked}"


def make_model(folder: Path) -> Path:
    """A LLaVA that has learnt to call grey pictures safer the brighter they are."""
    if folder.exists():
        return folder
    torch.manual_seed(0)
    torch.set_num_threads(1)
    lessons: list[tuple[list[dict[str, str]], str]] = []
    frames = []
    for step in range(10):
        level = int(step / 9 * 255)
        said = {"grade": f' {{"grade": {step}}}', "yes_no": f' {{"safe": "{_word(step)}"}}'}
        for answer, text in said.items():
            words = {"type": "text", "text": Question(answer=answer).text(1)}
            lessons.append(([words, vlm_folders.PICTURE], text))
        for answer, text in {"noul": _word(step).title(), "score": "ABCDE"[step // 2]}.items():
            words = {"type": "text", "text": typed_words(answer)}
            lessons.append(([vlm_folders.PICTURE, words], text))
        frames += [vlm_folders.grey_frames([level])[0]] * 4
    texts = [part["text"] for content, _ in lessons for part in content if "text" in part]
    texts += [text for _, text in lessons] + ["Yes", "No"] * 50
    model, processor = vlm_folders.build_llava(texts, side=SIDE)
    vlm_folders.teach_parts(model, processor, lessons, frames, STEPS)
    return vlm_folders.save(folder, model, processor)


def _word(step: int) -> str:
    return "yes" if step > 4 else "no"


def reference(folder: Path, levels: list[int], words: str, labels: list[str]) -> list[list[float]]:
    """Probabilities of ``labels`` as next token, by `transformers` alone, for grey pictures."""
    from PIL import Image
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    processor = LlavaProcessor.from_pretrained(folder)
    ids = [processor.tokenizer.convert_tokens_to_ids(label) for label in labels]
    found = []
    for frame in frames_of({"levels": levels}):
        inputs = processor(
            text=f"user: <image>{words}</s>assistant:",
            images=Image.fromarray(frame),
            return_tensors="pt",
        )
        with torch.no_grad():
            logits = model(**inputs).logits[0, -1, ids].double()
        found.append(logits.softmax(-1).tolist())
    return found


@contextmanager
def running(command: list[str], packages: str, ready: str, folder: Path) -> Iterator[str]:
    """A server process; gives its address once ``GET ready`` answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.replace("PORT", str(port)) for part in command]
    log = (folder / "server.log").open("a")
    env = os.environ | {"PYTHONPATH": packages, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    root = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(root + ready, timeout=5).read()
                break
            except OSError:
                assert process.poll() is None, (folder / "server.log").read_text()[-3000:]
                time.sleep(0.5)
        yield root
    finally:
        process.kill()
        process.wait()
        log.close()


def record(root: str, spec: str, **facts: Any) -> dict[str, Any]:
    """Have one scorer ask a server; ``spec`` has ``URL`` for its address."""
    case = {"spec": spec, **facts}
    with RecordingServer(root) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer: Any = make_scorer(f"{spec.replace('URL', server.root)},first_wait=0.01")
        try:
            print(spec, scorer(frames_of(case)).tolist())
        except ChatServerError as error:
            print(spec, error)
    return case | {"exchanges": server.exchanges}


def of_transformers(folder: Path, packages: str, version: str) -> Iterator[dict[str, Any]]:
    make_model(folder / "tiny")
    make_blind(folder / "blind")
    serve = [sys.executable, "-m", "transformers.cli.transformers", "serve", "--port", "PORT"]
    serve += ["--host", "127.0.0.1", "--device", "cpu"]
    lead = "\n" if tuple(map(int, version.split(".")[:2])) >= (5, 23) else ""
    words = {answer: typed_words(answer, lead) for answer in ("noul", "score")}
    noul = [p[0] for p in reference(folder / "tiny", LEVELS, words["noul"], ["Yes", "No"])]
    levels = reference(folder / "tiny", LEVELS, words["score"], list("ABCDE"))
    score = [float(np.dot(p, range(5)) / 4) for p in levels]
    with running(serve, packages, "/health", folder) as root:
        yield record(root, "systemone:./tiny@URL/v1", **SINGLE, reference=noul)
        yield record(root, "systemone:./tiny@URL/v1,answer=score", **SINGLE, reference=score)
        yield record(root, "systemone:./tiny@URL/v1,context_frames=2", **PAIRS)
        yield record(root, "chat:./tiny@URL/v1", **SINGLE)
        yield record(root, "chat:./tiny@URL/v1,answer=yes_no", **SINGLE)
        yield record(root, "chat:./tiny@URL/v1,reading=logprobs", **SINGLE)
        for name in ("blind", "nothing"):
            yield record(root, f"chat:./{name}@URL/v1", **SINGLE)
            yield record(root, f"systemone:./{name}@URL/v1", **SINGLE)
        yield record(root, "chat:./tiny@URL", **SINGLE)
        yield record(root, "systemone:./tiny@URL", **SINGLE)
    with running([*serve, "./tiny"], packages, "/health", folder) as root:
        yield record(root, "chat:other@URL/v1", **SINGLE)


def make_blind(folder: Path) -> None:
    """A language model without eyes."""
    from transformers import LlamaForCausalLM

    tokenizer = vlm_folders.build_tokenizer(["Yes", "No"] * 50)
    tokenizer.chat_template = (
        "{% for message in messages %}user: {{ message['content'] }}</s>{% endfor %}assistant:"
    )
    torch.manual_seed(0)
    LlamaForCausalLM(vlm_folders.text_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def of_llama_cpp(folder: Path, packages: str, version: str) -> Iterator[dict[str, Any]]:
    make_model(folder / "tiny")
    write_gguf(folder / "tiny", folder / "plain")
    write_gguf(folder / "tiny", folder / "decision", decision=True)
    serve = [sys.executable, "-c", LLAMA]
    with running([*serve, "plain", "PORT", "tiny"], packages, "/health", folder) as root:
        yield record(root, "chat:tiny@URL/v1", **SINGLE)
        yield record(root, "chat:tiny@URL/v1,answer=yes_no", **SINGLE)
        yield record(root, "chat:tiny@URL/v1,reading=json", **SINGLE)
        yield record(root, "systemone:tiny@URL/v1", **SINGLE)
    with running([*serve, "decision", "PORT", "tiny"], packages, "/health", folder) as root:
        yield record(root, "systemone:tiny@URL/v1", **SINGLE)
        yield record(root, "systemone:tiny@URL/v1,answer=score", **SINGLE)
        yield record(root, "systemone:tiny@URL/v1,context_frames=2", **PAIRS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", choices=["transformers", "llama.cpp"])
    parser.add_argument("--packages", required=True, help="folder with what the server needs")
    parser.add_argument("--most", type=int, help="cases, the first so many; by default all")
    parser.add_argument("--models", type=Path, help="folder for the models, to use them again")
    options = parser.parse_args()
    kinds = {"transformers": of_transformers, "llama.cpp": of_llama_cpp}
    package = "transformers" if options.server == "transformers" else "xllamacpp"
    look = f"from importlib.metadata import version; print(version({package!r}))"
    env = os.environ | {"PYTHONPATH": options.packages}
    version = subprocess.check_output([sys.executable, "-c", look], text=True, env=env).strip()
    sys.path.append(options.packages)
    with tempfile.TemporaryDirectory() as folder:
        models = (options.models or Path(folder)).resolve()
        models.mkdir(parents=True, exist_ok=True)
        packages = str(Path(options.packages).resolve())
        cases = list(islice(kinds[options.server](models, packages, version), options.most))
    name = f"{options.server}-{version}"
    FOLDER.mkdir(exist_ok=True)
    write(FOLDER / f"{name}.json", f"{package} {version}", cases)


def write(path: Path, package: str, cases: list[dict[str, Any]]) -> None:
    """Keep cases, an exchange a line."""
    lines = [f'{{"package": {json.dumps(package)}, "cases": [']
    for case in cases:
        facts = json.dumps({key: case[key] for key in case if key != "exchanges"})
        exchanges = ",\n".join(json.dumps(one, separators=(",", ":")) for one in case["exchanges"])
        comma = "," if case is not cases[-1] else ""
        lines.append(f'{facts[:-1]}, "exchanges": [\n{exchanges}]}}{comma}')
    path.write_text("\n".join([*lines, "]}"]) + "\n")


if __name__ == "__main__":
    main()
