"""What a decoder layer is made of: linear layers, attention, rotary embedding, norms, experts, cache."""
