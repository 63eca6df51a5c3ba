"""Attribution to layers and neurons, all tasks from one forward pass a point of the path."""
