"""What a quantization did to a model, as numbers: types, scales, error against the original."""
