from batchfront import CostAwareSampler

__all__ = ["CostAwareSampler"]
