"""Recipes: short scripts that each ask one question, train, explain, and write a comparison report."""

RECIPES: dict[str, str] = {
    "linear_regression": "does gradient descent find the least-squares solution, and are attributions exact there?",
    "cnn": "what does a sound training of a small CNN gain over ten steps of plain SGD, and what does each look at?",
    "multimnist": "does sharing a backbone help two digit tasks, does balancing, and does each head look at its own?",
    "photographs": "what speaks for a class on photographs, does it lie on the object, and was it learned?",
    "scenes": "do dense tasks and others gain from one backbone and from balancing, and does each look at the objects?",
    "vqa": "which answers need the image, which the question, and which pixels and words does each use?",
    "multimodal": "do picture and sound beat either alone, what if one is missing, and which does each task use?",
    "few_labels": "what do auxiliary tasks and augmentation give where labels are scarce?",
    "balancers": "which way of balancing is worth its cost, against a tuned plain sum?",
    "balancers_toy": "from where does each way of balancing two losses reach their Pareto set?",
    "automation": "does a search of hyperparameters, heads and branch points beat the defaults, and what mattered?",
    "compute": "what do precision, memory format, compilation and a second process cost and gain?",
    "tabular": "does one network for all targets of a table beat one a target, and how far is gradient boosting?",
    "mine": "do my own tasks, in a table or a folder of pictures, gain from one shared model?",
    "attributions": "which attribution methods may be trusted on these models, by which measure?",
}

__all__ = ["RECIPES"]
