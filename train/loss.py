"""What fine-tuning makes small: cross-entropy of the categories, and a term that draws products of one together.

Imports torch: import it where used.
"""

import torch
from torch.nn import functional as F


def category_loss(
    vectors: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, contrast: float, temperature: float
) -> torch.Tensor:
    """Cross-entropy and, with the weight `contrast`, supervised contrast; the mean over the batch."""
    loss = F.cross_entropy(logits.float(), labels)
    return loss + contrast * supervised_contrast(vectors.float(), labels, temperature) if contrast else loss


def supervised_contrast(vectors: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """How far products are from others of their category within the batch (Khosla et al. 2020, their L_out).

    A product without such another counts for nothing.
    """
    unit = F.normalize(vectors)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    logits = (unit @ unit.T / temperature).masked_fill(itself, torch.finfo(unit.dtype).min)
    logs = logits - logits.logsumexp(1, keepdim=True)
    alike = (labels[:, None] == labels) & ~itself
    count = alike.sum(1)
    each = -torch.where(alike, logs, 0.0).sum(1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)
