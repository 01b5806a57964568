"""From a checkpoint file to one GGUF file that llama.cpp and Ollama run."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from app.training.character_tokenizers import ByteTokenizer
from app.training.data.chat_template import CHATML
from app.training.export import end_of_answer, id_behind_an_answer
from app.training.inference import LoadedModel, load_trained
from app.training.pretrained_tokenizer import PretrainedTokenizer
from app.training.text_cuts import GPT_4, GPT_4O, WORDS
from app.training.tokenizer_export import byte_characters, exported
from app.training.tokenizer_protocol import Tokenizer
from app.transformer.errors import UnsupportedModelError
from app.transformer.export import NotRepresentableError
from app.transformer.gguf_tensors import (
    add_hyperparameters,
    architecture,
    named_tensors,
)

if TYPE_CHECKING:
    import gguf

Quantization = Literal["f16", "q8_0"]
QUANTIZATIONS: Final = ("f16", "q8_0")

_LARGEST_F16: Final = float(np.finfo(np.float16).max)
_MARK: Final = "training_engine.producer"
_MODELFILE_MARK: Final = "# Written by `training-engine export`, and replaced by the next one."
_NEVER: Final = 0xFF
"""A byte that no UTF-8 text has: it ends a text of bytes, which has no token for that."""
_NO_MERGES: Final = "ÿ þ"
"""Bytes 0xFF and 0xFE, which no text has side by side: a file without merges is refused."""
_GENERATION: Final = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")


def export_gguf(
    checkpoint: Path,
    output: Path,
    *,
    averaged: bool = False,
    quantization: Quantization = "f16",
) -> list[Path]:
    """Write the model of a checkpoint file as GGUF, and a Modelfile for Ollama beside it.

    An embedding with more rows than the tokenizer has ids is cut: llama.cpp could choose the
    others. Return the files. Needs the extra `gguf`.

    Raises:
        CheckpointError, TokenizerError: The checkpoint cannot be read.
        UnsupportedModelError: Its model or tokenizer has no form in GGUF; nothing is written then.
        NotRepresentableError: A weight is too large for float16.
        OSError: The file cannot be written, or is there and no export wrote it.
    """
    loaded = load_trained(checkpoint, averaged=averaged)
    architecture(loaded.model.config)
    with _replaced(output) as temporary:
        name = output.stem.encode(errors="replace").decode()  # a file's name need not be text
        _write(temporary, name, loaded, quantization)
    modelfile = output.with_name("Modelfile")
    if modelfile.exists() and _MODELFILE_MARK not in modelfile.read_text(errors="replace"):
        return [output]
    text = _modelfile(output.name, loaded)
    modelfile.write_text(text, encoding="utf-8", errors="surrogateescape")
    return [output, modelfile]


@contextlib.contextmanager
def _replaced(output: Path) -> Iterator[Path]:
    """Yield a path to write to, which then becomes the file; nothing is left where that fails."""
    if output.exists() and not _is_ours(output):
        raise FileExistsError(errno.EEXIST, "no export of this engine wrote it", str(output))
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK.encode() in file.read(4096)


def _write(path: Path, name: str, loaded: LoadedModel, quantization: Quantization) -> None:
    import gguf

    config, tokenizer = loaded.model.config, loaded.tokenizer
    vocabulary = min(tokenizer.vocab_size if tokenizer else config.vocab_size, config.vocab_size)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH[architecture(config)]])
    try:
        writer.add_string(_MARK, "training-engine")
        writer.add_name(name)
        add_hyperparameters(writer, config)
        writer.add_vocab_size(vocabulary)
        kind = gguf.LlamaFileType
        writer.add_file_type(kind.MOSTLY_F16 if quantization == "f16" else kind.MOSTLY_Q8_0)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_tokenizer(writer, tokenizer)
        if (answered := id_behind_an_answer(loaded)) is not None:
            writer.add_eot_token_id(answered)
        if loaded.chat_template is not None:
            writer.add_chat_template(_without_marks(loaded.chat_template.source))
        _write_tensors(writer, list(named_tensors(loaded.model, vocabulary)), quantization)
    finally:
        writer.close()


def _write_tensors(
    writer: gguf.GGUFWriter, tensors: list[tuple[str, Tensor]], quantization: Quantization
) -> None:
    """Write the tensors one after another; their sizes are known before."""
    import gguf

    kinds = {name: _kind(name, tensor, quantization) for name, tensor in tensors}
    for name, tensor in tensors:
        kind = gguf.GGMLQuantizationType[kinds[name]]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        length = tensor.numel() // block * size
        writer.add_tensor_info(name, list(tensor.shape), np.dtype(np.float32), length, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, tensor in tensors:
        values = tensor.float().contiguous().numpy()
        writer.write_tensor_data(_encoded(name, values, kinds[name]))


def _kind(name: str, tensor: Tensor, quantization: Quantization) -> str:
    """Return how a tensor is stored: vectors and positions in full, the others as asked for."""
    if tensor.dim() == 1 or name == "position_embd.weight":
        return "F32"
    fits = quantization == "q8_0" and tensor.shape[-1] % 32 == 0
    return "Q8_0" if fits else "F16"


def _encoded(name: str, values: npt.NDArray[np.float32], kind: str) -> npt.NDArray[Any]:
    from gguf import GGMLQuantizationType, quants

    if kind == "F32":
        return values
    largest = float(np.abs(values).max())
    if kind == "F16" and _LARGEST_F16 < largest < math.inf:
        raise NotRepresentableError(
            f"tensor {name!r} has a weight of {largest:.6g}; float16 has numbers up to "
            f"{_LARGEST_F16:g}; take --quantization q8_0, or --format hf"
        )
    return quants.quantize(values, GGMLQuantizationType[kind])


# -- the tokenizer ---------------------------------------------------------------------------------


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer | None) -> None:
    if tokenizer is None:
        writer.add_tokenizer_model("none")
    elif isinstance(tokenizer, ByteTokenizer):
        _add_bytes(writer)
    elif isinstance(tokenizer, PretrainedTokenizer):
        _add_byte_level(writer, tokenizer)
    else:
        raise UnsupportedModelError(
            "the tokenizer `char` has no form in GGUF; export it with --format hf, or train with "
            "`byte` or `bpe:4096`"
        )


def _add_bytes(writer: gguf.GGUFWriter) -> None:
    from gguf import TokenType

    _add_vocabulary(writer, byte_characters(), [TokenType.NORMAL] * 256, [_NO_MERGES], "gpt-2")
    for add in (writer.add_bos_token_id, writer.add_eos_token_id):
        add(_NEVER)  # its default is 11, a byte that a text may have


def _add_byte_level(writer: gguf.GGUFWriter, tokenizer: PretrainedTokenizer) -> None:
    content = json.loads(tokenizer.definition)
    pre = _pre_tokenizer(content)
    tokens, kinds = _tokens(content, tokenizer.vocab_size)
    merges = [m if isinstance(m, str) else " ".join(m) for m in content["model"]["merges"]]
    _add_vocabulary(writer, tokens, kinds, merges or [_NO_MERGES], pre)
    ids = exported(tokenizer).special_ids
    for use, add in (
        ("bos_token", writer.add_bos_token_id),
        ("eos_token", writer.add_eos_token_id),
        ("pad_token", writer.add_pad_token_id),
    ):
        if use in ids:
            add(ids[use])


def _add_vocabulary(
    writer: gguf.GGUFWriter, tokens: list[str], kinds: list[int], merges: list[str], pre: str
) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def _tokens(content: Mapping[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Return the tokens by id, and what llama.cpp is to take each for."""
    from gguf import TokenType

    tokens = [f"[unused{place}]" for place in range(size)]
    kinds = [int(TokenType.UNUSED)] * size
    for token, place in content["model"]["vocab"].items():
        if place < size:  # what pads an embedding is cut
            tokens[place], kinds[place] = token, int(TokenType.NORMAL)
    for added in content.get("added_tokens") or []:
        kind = TokenType.CONTROL if added.get("special") else TokenType.USER_DEFINED
        tokens[added["id"]], kinds[added["id"]] = added["content"], int(kind)
    return tokens, kinds


def _pre_tokenizer(content: Mapping[str, Any]) -> str:
    """Return llama.cpp's name for how a tokenizer divides a text into words.

    Raises:
        UnsupportedModelError: It has none for this tokenizer.
    """
    part, model = content.get("pre_tokenizer") or {}, content["model"]
    name = None
    if part.get("type") == "ByteLevel" and part.get("use_regex", True):
        name = "gpt-2"
    elif [each["type"] for each in part.get("pretokenizers") or []] == ["Split", "ByteLevel"]:
        pattern = part["pretokenizers"][0]["pattern"].get("Regex")
        of_gpt4 = "llama-bpe" if model.get("ignore_merges") else "dbrx"
        name = {GPT_4: of_gpt4, WORDS: "qwen2", GPT_4O: "gpt-4o"}.get(pattern)
    options = ("single_word", "lstrip", "rstrip")
    if any(token.get(option) for token in content.get("added_tokens") or [] for option in options):
        name = None  # llama.cpp finds a token wherever it is spelled, and takes no space with it
    if name is None or model.get("type") != "BPE" or content.get("normalizer") or _prefixes(part):
        raise UnsupportedModelError(
            "the tokenizer has no form in GGUF that is known to give the same ids: it must be "
            "byte-level BPE that divides words as GPT-2, GPT-4, Llama 3 or Qwen 2 do, and finds "
            "its added tokens everywhere; export it with --format hf"
        )
    return name


def _prefixes(part: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text."""
    parts = [part, *(part.get("pretokenizers") or [])]
    return any(each.get("add_prefix_space") for each in parts if each.get("type") == "ByteLevel")


# -- what goes along -------------------------------------------------------------------------------


def _without_marks(template: str) -> str:
    """Return a chat template without `generation` blocks, which only training needs."""
    return _GENERATION.sub(
        lambda found: f"{found[1]}{'endif' if found[2] else 'if true'}{found[3]}", template
    )


def _modelfile(file: str, loaded: LoadedModel) -> str:
    lines = [_MODELFILE_MARK, f"FROM ./{file}"]
    template, stops = loaded.chat_template, dict.fromkeys([_end_of_text(loaded)])
    if template is None:
        lines.append('TEMPLATE """{{ .Prompt }}"""')
    else:
        stops |= {end_of_answer(loaded): None}
    if template is not None and template.source == CHATML:
        lines.append(f'TEMPLATE """{_OLLAMA_CHATML}"""')
        stops |= {"<|im_end|>": None}
    # Ollama takes what is between the quotes as it is: there are no escapes.
    lines += [f'PARAMETER stop "{stop}"' for stop in stops if stop]
    lines.append(f"PARAMETER num_ctx {loaded.model.config.max_position_embeddings}")
    return "\n".join(lines) + "\n"


def _end_of_text(loaded: LoadedModel) -> str | None:
    tokenizer = loaded.tokenizer
    return tokenizer.end_of_text if isinstance(tokenizer, PretrainedTokenizer) else None


_OLLAMA_CHATML: Final = (
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n"
)
"""ChatML in Ollama's own language of templates; it recognizes others in the file itself."""
