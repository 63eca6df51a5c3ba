"""Attribution to training examples, for each task."""
