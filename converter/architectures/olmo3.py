"""OLMo 3: OLMo 2 with sliding windows in three of four layers; its GGUF architecture is olmo2, too.

Source: llama.cpp, conversion/olmo.py and src/models/olmo2.cpp; transformers, models/olmo3.
"""

from llorch.converter.architectures.olmo2 import OLMO2
from llorch.converter.schema.architecture import Architecture, Key, Kind, RopeLayout
from llorch.converter.schema.conditions import has_window
from llorch.converter.schema.derived_values import every_nth_full

OLMO3 = Architecture(
    gguf="olmo2",
    when=has_window,
    model_type="olmo3",
    class_name="Olmo3ForCausalLM",
    head_dim="unusual",
    rope=RopeLayout.SCALED_FULL_ATTENTION,
    tensors=OLMO2.tensors,
    keys=(
        Key("attention.layer_norm_rms_epsilon", "rms_norm_eps", least=0),
        Key("attention.sliding_window", "sliding_window", Kind.INTEGER, least=1),
    ),
    derived={"layer_types": every_nth_full(4)},
    assumed=OLMO2.assumed,
)
