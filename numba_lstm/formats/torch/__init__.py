"""What torch writes: checkpoints, TorchScript, archives of ``torch.export``."""
