"""Dense outputs, one a pixel: tasks, their metrics, pyramids of feature maps, and heads that read them."""
