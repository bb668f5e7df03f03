"""What model files say, byte by byte; nothing of what a model means.

`gguf_file` reads GGUF headers, `safetensors_file` reads and lays out safetensors folders, `tensor_data` reads the
tensor bytes of both; `quants` knows how weights are packed, `tokenizer` turns a GGUF vocabulary into a tokenizer.json.
Whatever is wrong with an input is an `errors.InputError`. Nothing here imports another room.
"""
