"""What CUDA's autocast computes in float32, for predictions that are made on a CPU.

The list is torch's own (docs, "CUDA Ops that can autocast to float32"); the CPU's is shorter, and a
LayerNorm that stays in 16 bits there would need less memory than it takes on the GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from batchfront.objectives.loading.tree import mapped

IN_FLOAT32 = (
    "__pow__ __rdiv__ __rpow__ __rtruediv__ acos asin binary_cross_entropy_with_logits cdist cosh "
    "cosine_embedding_loss cosine_similarity cross_entropy cumprod cumsum dist erfinv exp expm1 "
    "group_norm hinge_embedding_loss kl_div l1_loss layer_norm log log10 log1p log2 log_softmax "
    "margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss nll_loss norm normalize "
    "pdist poisson_nll_loss pow prod reciprocal renorm rsqrt sinh smooth_l1_loss soft_margin_loss "
    "softmax softmin softplus sum tan triplet_margin_loss"
)


def as_on_cuda() -> AbstractContextManager[Any]:
    """Inside, 16-bit inputs of those functions become float32 first, as CUDA's autocast has it."""
    from torch.overrides import TorchFunctionMode

    in_float32 = frozenset(IN_FLOAT32.split())

    class AsOnCuda(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if getattr(func, "__name__", "") in in_float32:
                args, kwargs = mapped(_wide, tuple(args)), mapped(_wide, kwargs)
            return func(*args, **kwargs)

    return AsOnCuda()


def _wide(value: Any) -> Any:
    import torch

    is_half = isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if is_half else value
