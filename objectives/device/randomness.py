"""The global random generators of torch, NumPy and Python: seeded, read and put back together."""

from __future__ import annotations

import random
from typing import Any


def seed_everything(seed: int) -> None:
    """Seed torch (all devices), NumPy's and Python's global generators."""
    import numpy as np
    import torch

    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def random_states(device: str) -> dict[str, Any]:
    """All states, as tensors and plain values: what `torch.load(weights_only=True)` takes."""
    import numpy as np
    import torch

    states = held_states(device)
    kind, keys, *rest = states["numpy"]
    version, numbers, gauss = states["python"]
    return {
        **states,
        "numpy": [kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": [version, torch.tensor(numbers), gauss],
    }


def held_states(device: str) -> dict[str, Any]:
    """All states as the generators have them, to be put back in this process: that is quicker."""
    import numpy as np
    import torch

    states = {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }
    if device.startswith("cuda"):
        states["device"] = torch.cuda.get_rng_state(device)
    elif device.startswith("mps"):
        states["device"] = torch.mps.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any], device: str) -> None:
    """Put back what `random_states` or `held_states` returned."""
    import numpy as np
    import torch

    torch.set_rng_state(states["torch"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.asarray(keys).astype(np.uint32), *rest))
    version, numbers, gauss = states["python"]
    # Checkpoints of older versions hold 625 numbers, which take longer to write than a small model.
    known = numbers if isinstance(numbers, tuple) else tuple(numbers.tolist())
    random.setstate((version, known, gauss))
    if device.startswith("cuda"):
        torch.cuda.set_rng_state(states["device"], device)
    elif device.startswith("mps"):
        torch.mps.set_rng_state(states["device"])
