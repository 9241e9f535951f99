"""A declarative runner of ablation experiments."""
