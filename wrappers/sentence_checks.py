"""What becomes of prompts in a text encoder: unknown words, words cut off, sides read alike."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from wrappers.checkpoints import UnfitError
from wrappers.prompts import Prompts

_NEARLY_EQUAL = 1e-4  # 1 - cosine of two sides
_MOSTLY = 0.5  # share of a sentence's tokens
_A_SENTENCE, _SPELT = 8, 0.85  # letters; tokens for each of them where nothing but letters is known
# How CLIP's text models find the token whose features stand for the sentence.
_READ_AT_THE_END = ("clip", "metaclip_2")
_LEGACY_END = 2  # in a config of CLIP: the end is the token with the highest number


def check_words(tokenizer: Any, text: str) -> None:
    """Refuse a text of which a tokenizer knows no word; warn where it knows less than half.

    Raises:
        UnfitError: naming the text.
    """
    words = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    strange = sum(word == tokenizer.unk_token_id for word in words)
    if strange == len(words):
        raise UnfitError(
            f"its tokenizer knows no word of {text!r}, so that all texts read alike; copy the "
            "tokenizer's files from where the model comes from"
        )
    letters = len("".join(text.split()))
    if text.isascii() and letters >= _A_SENTENCE and len(words) > _SPELT * letters:
        warnings.warn(
            f"the tokenizer takes the prompt {text!r} apart into {len(words)} tokens, as many as "
            "letters: it may lack its merges; copy all of its files",
            stacklevel=5,
        )
    if strange > _MOSTLY * len(words):
        warnings.warn(
            f"the tokenizer knows {1 - strange / len(words):.0%} of the words in the prompt "
            f"{text!r}; use other words, or another checkpoint",
            stacklevel=5,
        )


def check_sentences(model: Any, tokenizer: Any, sentences: Sequence[str], length: int) -> None:
    """Refuse sentences that a dual encoder cannot read, and warn of those that it reads in part.

    Args:
        length: tokens that the text encoder reads.

    Raises:
        UnfitError: for a sentence of which the tokenizer knows no word or makes tokens that the
            model does not have, or whose end the text encoder does not find.
    """
    together = "they do not belong together; copy both from one place"
    for sentence in sentences:
        check_words(tokenizer, sentence)
        tokens = tokenizer(sentence, verbose=False)["input_ids"]
        if max(tokens) >= model.config.text_config.vocab_size:
            raise UnfitError(
                f"its tokenizer makes tokens of {sentence!r} that its model does not have: "
                f"{together}"
            )
        if len(tokens) > length:
            lost = _lost_words(tokenizer, sentence, length)
            warnings.warn(
                f"the prompt {sentence!r} has {len(tokens)} tokens and the model reads {length}: "
                f"{lost!r} is cut off; shorten it",
                stacklevel=4,
            )
        elif not _finds_the_end(model.config, tokenizer, tokens):
            raise UnfitError(
                f"its text encoder does not find the end of {sentence!r} in what its tokenizer "
                f"makes of it: {together}"
            )


def check_sides(prompts: Prompts, tokenizer: Any, length: int) -> None:
    """Refuse a safe and an unsafe side that are the same once they are cut to the model's length.

    Raises:
        UnfitError: naming the sentences.
    """

    def read(side: Sequence[str]) -> list[list[int]]:
        cut = tokenizer(list(side), truncation=True, max_length=length, verbose=False)
        return sorted(cut["input_ids"])

    if prompts.safe != prompts.unsafe and read(prompts.safe) == read(prompts.unsafe):
        raise UnfitError(
            f"the safe side {list(prompts.safe)} and the unsafe side {list(prompts.unsafe)} are "
            f"the same to the model, which reads {length} tokens and knows the words of its "
            "tokenizer; use other sentences"
        )


def warn_of_equal_sides(cosine: float, prompts: Prompts, name: str) -> None:
    """Warn where no frame can be much nearer to one side than to the other."""
    if 1.0 - cosine < _NEARLY_EQUAL:
        warnings.warn(
            f"{name} reads the safe side {list(prompts.safe)} and the unsafe side "
            f"{list(prompts.unsafe)} (nearly) alike: their cosine is {cosine:.6f}, so that the "
            "scores say nothing; use other sentences",
            stacklevel=4,
        )


def _lost_words(tokenizer: Any, sentence: str, length: int) -> str:
    if tokenizer.is_fast:
        options = {"truncation": True, "max_length": length, "return_offsets_mapping": True}
        kept = tokenizer(sentence, **options)["offset_mapping"]
        end = max(end for _, end in kept)
        whole = sentence.rfind(" ", 0, end + 1)  # a word that is read in part is lost
        return sentence[max(whole, 0) :].strip()
    tokens = tokenizer(sentence, add_special_tokens=False, verbose=False)["input_ids"]
    return str(tokenizer.decode(tokens[length - tokenizer.num_special_tokens_to_add() :])).strip()


def _finds_the_end(config: Any, tokenizer: Any, tokens: list[int]) -> bool:
    if config.model_type not in _READ_AT_THE_END:
        return True
    end = config.text_config.eos_token_id
    if config.model_type == "clip" and end == _LEGACY_END:
        return max(tokens) == tokenizer.eos_token_id
    return end in tokens
