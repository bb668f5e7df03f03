"""Load and run a model, read from a GGUF file by ggml's conventions or from a folder by transformers'.

    model = runtime.load("model.gguf")             # or a folder with config.json and safetensors
    model.logits([1, 2, 3])                        # Tensor (3, vocabulary), float32
    model.generate("Once upon", max_new_tokens=9)  # Generation
    for piece in model.stream("Once upon"): …      # text, as it is generated

    runtime.read_text("model.gguf").tokenizer      # loads no weights; also reads a vocabulary-only file
    runtime.describe("model.gguf")                 # what the model is and what it needs; reads no weights
    runtime.compare_logits(reference, tested)      # KL divergence, differences, changed top tokens

The two readings share the dequantization and the decoder, but nothing that a conversion decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.runtime.blocks.linear import Linear
    from llorch.runtime.chat import Chat
    from llorch.runtime.contents import Contents, describe_contents
    from llorch.runtime.decoder import Decoder, Observe
    from llorch.runtime.description import Description, describe
    from llorch.runtime.devices import choose_device, start_device
    from llorch.runtime.errors import ContextFull, DoesNotFit, RequestError, UnknownToken
    from llorch.runtime.from_folder import traits_of_config
    from llorch.runtime.from_folder.config import Config, read_json
    from llorch.runtime.generate import Generation, Stream
    from llorch.runtime.kernels.cpu.support import KernelSupport, kernel_support
    from llorch.runtime.loading import load, read_text, require_memory
    from llorch.runtime.measure.compare import LogitsComparison, compare_logits
    from llorch.runtime.measure.perplexity import Perplexity, measure_perplexity
    from llorch.runtime.measure.soak import Fresh, Soak, fresh_answers, soak
    from llorch.runtime.measure.speed import Speed, measure_speed
    from llorch.runtime.mode import Mode
    from llorch.runtime.model import Model
    from llorch.runtime.sampling import Sampling
    from llorch.runtime.text.model_text import Text
    from llorch.runtime.traits import Rope, Traits

__all__ = [
    "Chat",
    "Config",
    "Contents",
    "ContextFull",
    "Decoder",
    "Description",
    "DoesNotFit",
    "Fresh",
    "Generation",
    "KernelSupport",
    "Linear",
    "LogitsComparison",
    "Mode",
    "Model",
    "Observe",
    "Perplexity",
    "RequestError",
    "Rope",
    "Sampling",
    "Soak",
    "Speed",
    "Stream",
    "Text",
    "Traits",
    "UnknownToken",
    "choose_device",
    "compare_logits",
    "describe",
    "describe_contents",
    "fresh_answers",
    "kernel_support",
    "load",
    "measure_perplexity",
    "measure_speed",
    "read_json",
    "read_text",
    "require_memory",
    "soak",
    "start_device",
    "traits_of_config",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "blocks.linear": ["Linear"],
        "chat": ["Chat"],
        "decoder": ["Decoder", "Observe"],
        "contents": ["Contents", "describe_contents"],
        "description": ["Description", "describe"],
        "devices": ["start_device", "choose_device"],
        "errors": ["ContextFull", "DoesNotFit", "RequestError", "UnknownToken"],
        "from_folder": ["traits_of_config"],
        "from_folder.config": ["Config", "read_json"],
        "generate": ["Generation", "Stream"],
        "kernels.cpu.support": ["KernelSupport", "kernel_support"],
        "loading": ["load", "read_text", "require_memory"],
        "measure.compare": ["LogitsComparison", "compare_logits"],
        "measure.perplexity": ["Perplexity", "measure_perplexity"],
        "measure.soak": ["Fresh", "Soak", "fresh_answers", "soak"],
        "measure.speed": ["Speed", "measure_speed"],
        "mode": ["Mode"],
        "model": ["Model"],
        "text.model_text": ["Text"],
        "sampling": ["Sampling"],
        "traits": ["Rope", "Traits"],
    },
)
