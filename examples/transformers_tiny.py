"""A Trainer of Transformers joins: which of two halves does the first word come from?

pip install 'batchfront[transformers]'
make study TASK=examples/transformers_tiny.py BATCH_SIZES=8:32 LEARNING_RATES=1e-3:0.1
"""

from __future__ import annotations

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer

import batchfront as bf

WORDS, LENGTH = 16, 8


def texts(n, seed):
    """Random words, (LENGTH,) int64; of class 1 are those whose first is of the upper half."""
    words = torch.randint(WORDS, (n, LENGTH), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": row, "labels": int(row[0] >= WORDS // 2)} for row in words]


TRAIN, VAL = texts(192, 0), texts(96, 1)


def accuracy(predicted):
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def make_trainer(arguments):
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=LENGTH,
        num_labels=2,
    )
    return Trainer(
        model=BertForSequenceClassification(config),
        args=arguments,
        train_dataset=TRAIN,
        eval_dataset=VAL,
        compute_metrics=accuracy,
    )


ACCURACY = bf.Metric("eval_accuracy", bound=1.0, worst=0.0)
objective = bf.transformers.objective(make_trainer, metric=ACCURACY, epochs=3)
