"""llama.cpp's own tokenizer as a reference, in a child process, since a bad vocabulary aborts the process.

    python llama_cpp.py SPECIAL FILE.gguf … < texts.json > ids.json

The xllamacpp wheel carries all of llama.cpp and exports its C functions; a vocabulary-only file is enough.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path


class ModelParams(ctypes.Structure):
    """`struct llama_model_params` of llama.cpp, include/llama.h, builds 11434 to 11549."""

    _fields_ = (
        ("devices", ctypes.c_void_p),
        ("tensor_buft_overrides", ctypes.c_void_p),
        ("n_gpu_layers", ctypes.c_int32),
        ("split_mode", ctypes.c_int),
        ("load_mode", ctypes.c_int),
        ("lazy_mode", ctypes.c_int),
        ("main_gpu", ctypes.c_int32),
        ("tensor_split", ctypes.c_void_p),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p),
        ("vocab_only", ctypes.c_bool),
        ("rest", ctypes.c_bool * 7),
    )


def llama_cpp_ids(files: list[Path], texts: list[str], *, special: bool = False) -> list[list[list[int]]]:
    """Return for each file llama.cpp's ids of each text, without BOS and EOS; special: parse special tokens."""
    done = subprocess.run(
        [sys.executable, __file__, str(int(special)), *map(str, files)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    ids: list[list[list[int]]] = json.loads(done.stdout)
    return ids


def main(special: bool, files: list[str]) -> None:
    import xllamacpp.xllamacpp

    library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    silence = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    library.llama_log_set(silence, None)
    library.llama_backend_init()
    library.llama_model_default_params.restype = ModelParams
    library.llama_model_load_from_file.restype = ctypes.c_void_p
    library.llama_model_load_from_file.argtypes = (ctypes.c_char_p, ModelParams)
    library.llama_model_get_vocab.restype = ctypes.c_void_p
    library.llama_model_get_vocab.argtypes = (ctypes.c_void_p,)
    library.llama_model_free.argtypes = (ctypes.c_void_p,)
    library.llama_tokenize.argtypes = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int32,
        ctypes.POINTER(ctypes.c_int32),
        ctypes.c_int32,
        ctypes.c_bool,
        ctypes.c_bool,
    )
    params = library.llama_model_default_params()
    params.vocab_only = True
    texts = [text.encode() for text in json.load(sys.stdin)]
    out = []
    for file in files:
        model = library.llama_model_load_from_file(file.encode(), params)
        if not model:
            raise SystemExit(f"llama.cpp refuses {file}")
        vocab = library.llama_model_get_vocab(model)
        ids = []
        for text in texts:
            room = (ctypes.c_int32 * (3 * len(text) + 8))()  # a blank may become the three bytes of U+2581
            count = library.llama_tokenize(vocab, text, len(text), room, len(room), False, special)
            assert count >= 0
            ids.append(room[:count])
        out.append(ids)
        library.llama_model_free(model)
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1] == "1", sys.argv[2:])
