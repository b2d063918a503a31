"""Training of the two small models that the demo ships: a CLIP and a Qwen2.5-VL, on stories of the rendered world."""
