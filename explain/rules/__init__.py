"""Rules instead of gradients: every torch function of a forward pass is seen, and given a backward pass of its own."""
