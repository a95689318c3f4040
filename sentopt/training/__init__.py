"""Fine-tuning with the Hugging Face Trainer, and what belongs to it: checkpoints, EMA, soups, torchrun."""
