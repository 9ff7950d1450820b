"""Training that begins with weights: whose they are, that they fit, that they count, and what of them stays."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from test_exact_resume import result
from tiny_run import spec_of
from torch.nn import functional

from pipeline.config import RecurrentConfig, TransformerConfig
from pipeline.errors import ConfigurationError, InputError, TrainingInterrupted
from pipeline.models.loading import load_model
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import Linear, Transformer
from pipeline.models.transformer.shape import TransformerShape, derive_shape
from pipeline.training.beginning import freeze, load_start
from pipeline.training.derive import derive
from pipeline.training.lora import AdaptedLinear, add_adapters, merge_adapters
from pipeline.training.optimizer import Optimizer
from pipeline.training.starting import StartingPoint, check_fit, open_starting_point
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer

CONFIG = {"family": "transformer", "dataset": "tokens", "context_tokens": 32}


def hugging_face_folder(folder: Path, *, kind: str = "qwen3", vocab_size: int = 34, **changes: Any) -> Any:
    """A tiny random model that the library itself made and saved, and the model."""
    transformers = pytest.importorskip("transformers", reason="transformers is in the extra `dev`")
    sizes = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "initializer_range": 0.1,
        **changes,
    }
    library = {
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    }
    config_of, model_of = library[kind]
    torch.manual_seed(0)
    model = model_of(config_of(**sizes)).eval()
    with torch.no_grad():  # norms begin as ones, which would hide mistakes
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


def begun(folder: Path) -> tuple[StartingPoint, Transformer]:
    start = open_starting_point(folder, origin="the folder", content_hash="0" * 64)
    shape = derive(TransformerConfig(**CONFIG), vocab_size=start.shape.vocab_size, start=start.shape).shape
    assert isinstance(shape, TransformerShape)
    network = Transformer(shape)
    network.initialise(0)
    load_start(network, folder)
    return start, network


CASES: list[tuple[str, dict[str, Any]]] = [
    ("qwen3", {}),
    ("qwen3", {"tie_word_embeddings": True, "num_key_value_heads": 2, "head_dim": 16}),
    ("llama", {"rms_norm_eps": 1e-5, "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}}),
    ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    ("llama", {"num_key_value_heads": 2, "vocab_size": 64}),
]


@pytest.mark.parametrize(("kind", "changes"), CASES)
def test_a_hugging_face_folder_gives_its_own_logits_and_goes_back_as_one(
    tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    import transformers

    theirs = hugging_face_folder(tmp_path / "theirs", kind=kind, **changes)
    start, network = begun(tmp_path / "theirs")
    token_ids = torch.randint(0, start.shape.vocab_size, (3, 32), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs(token_ids).logits
        found = network.logits(network.hidden(token_ids))
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
    TransformerModel(network, tokenizer_hash="0" * 64, bos_id=2, eos_id=3, pad_id=0).save(tmp_path / "ours")
    again, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert type(again) is type(theirs)
    with torch.inference_mode():
        assert torch.equal(again(token_ids).logits, expected)


def continuing(data: Path, folder: Path, start: Path, **changes: Any) -> Any:
    """The spec of a run that begins with a folder."""
    shape = open_starting_point(start, origin="x", content_hash="x").shape
    sizes = {**asdict(shape), "context_tokens": 32}
    record = {"origin": "the folder", "content_hash": "1" * 64}
    return spec_of(data, folder, start_folder=str(start), started_from=record, shape=sizes, **changes)


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_continuing_begins_at_the_librarys_loss_and_lowers_it(tiny_data: Path, tmp_path: Path, kind: str) -> None:
    vocab_size = json.loads((tiny_data / "shards.json").read_text())["vocab_size"]
    theirs = hugging_face_folder(tmp_path / "theirs", kind=kind, vocab_size=vocab_size)
    trainer = Trainer(continuing(tiny_data, tmp_path, tmp_path / "theirs", num_steps=20), StopRequest())
    (batch,) = trainer._data.validation()
    with torch.inference_mode():
        logits = theirs(*batch.inputs).logits
        expected = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()).item()
    trainer.run()
    counts = json.loads((tmp_path / "output" / "training.json").read_text())
    assert counts["start_validation_loss"] == pytest.approx(expected, rel=1e-6)
    assert counts["final_validation_loss"] < expected - 0.5
    assert counts["started_from"] == "the folder"


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that Textmill trained."""
    folder = tmp_path_factory.mktemp("trained")
    Trainer(spec_of(tiny_data, folder, checkpoint_every_steps=None), StopRequest()).run()
    return folder / "output" / "model"


ADAPTERS = {"rank": 2, "alpha": 4.0, "targets": ["q_proj", "down_proj"], "learning_rate": 0.01}


@pytest.mark.parametrize("changes", [{}, {"freeze": ["embedding", "layers.0.mlp"]}, {"lora": ADAPTERS}])
def test_a_continued_run_that_is_stopped_ends_with_the_same_bits(
    tiny_data: Path, tmp_path: Path, trained: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = continuing(tiny_data, tmp_path / "straight", trained, **changes)
    Trainer(straight, StopRequest()).run()
    spec = continuing(tiny_data, tmp_path / "stopped", trained, checkpoint_every_steps=None, **changes)
    for stop_at in (0, 5):
        trainer = Trainer(spec, StopRequest())
        with monkeypatch.context() as patched:
            patched.setattr(
                StopRequest,
                "reason",
                property(lambda self, at=stop_at, trainer=trainer: "asked" if trainer._step == at else None),
            )
            with pytest.raises(TrainingInterrupted):
                trainer.run()
    Trainer(spec, StopRequest()).run()
    assert result(tmp_path / "stopped") == result(tmp_path / "straight")


def test_frozen_parts_come_out_as_they_went_in_and_the_others_do_not(
    tiny_data: Path, tmp_path: Path, trained: Path
) -> None:
    frozen = ["embedding", "norm", "layers.*.self_attn.k_norm", "layers.0-0.mlp"]
    Trainer(continuing(tiny_data, tmp_path, trained, freeze=frozen), StopRequest()).run()
    before, after = (weights_of(folder) for folder in (trained, tmp_path / "output" / "model"))
    kept = {name for name in before if torch.equal(before[name], after[name])}
    mlp = {f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up", "down")}
    assert kept == {"model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.k_norm.weight", *mlp}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_adapters_change_their_matrices_by_the_rank_and_nothing_else(
    tiny_data: Path, tmp_path: Path, trained: Path
) -> None:
    Trainer(continuing(tiny_data, tmp_path, trained, lora=ADAPTERS), StopRequest()).run()
    before, after = (weights_of(folder) for folder in (trained, tmp_path / "output" / "model"))
    assert before.keys() == after.keys()
    for name in before:
        change = (after[name] - before[name]).double()
        if name.endswith(("q_proj.weight", "down_proj.weight")):
            assert torch.linalg.matrix_rank(change, atol=1e-4) == 2, name
        else:
            assert not change.any(), name
    losses = json.loads((tmp_path / "output" / "training.json").read_text())
    assert losses["final_validation_loss"] < losses["start_validation_loss"]
    assert load_model(tmp_path / "output" / "model").family == "transformer"


def test_an_adapter_adds_alpha_over_rank_times_its_product() -> None:
    plain = Linear(2, 2)
    plain.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    adapted = AdaptedLinear(plain, rank=1, scale=3.0, generator=torch.Generator().manual_seed(0))
    x = torch.tensor([1.0, 1.0])
    assert adapted(x).tolist() == [3.0, 7.0]  # B is zero: the layer as it was
    adapted.adapter_down.data = torch.tensor([[1.0, -2.0]])
    adapted.adapter_up.data = torch.tensor([[0.5], [2.0]])
    assert adapted(x).tolist() == [1.5, 1.0]  # A x = -1, times 3, times B: -1.5 and -6
    assert adapted.merged().weight.tolist() == [[2.5, -1.0], [9.0, -8.0]]


def small_network(**changes: Any) -> Transformer:
    sizes = {"vocab_size": 20, "context_tokens": 8, "depth": 2, "width": 16, "num_heads": 2, **changes}
    network = Transformer(derive_shape(**sizes))
    network.initialise(seed=0)
    return network


def test_merged_adapters_give_the_logits_of_both_products() -> None:
    network = small_network()
    add_adapters(network, rank=3, alpha=6.0, targets=["o_proj", "up_proj"], seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    token_ids = torch.randint(0, 20, (2, 8), generator=generator)
    before = network.logits(network.hidden(token_ids))
    merge_adapters(network)
    assert not any(isinstance(module, AdaptedLinear) for module in network.modules())
    assert torch.allclose(network.logits(network.hidden(token_ids)), before, atol=1e-5)


def test_only_adapters_are_in_the_optimizers_state() -> None:
    network = small_network()
    add_adapters(network, rank=1, alpha=1.0, targets=["v_proj"], seed=1)
    loss = network(torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.int64))
    loss.backward()
    rates = {f"{kind}_learning_rate": 1.0 for kind in ("matrix", "embedding", "head", "vector")}
    optimizer = Optimizer(network, **rates, weight_decay=0.1, dtype=torch.float32, adapter_learning_rate=0.01)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    optimizer.step(1.0)
    changed = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    # the output projection is zero at the start, so nothing reaches A through B and B through it
    assert changed <= {f"model.layers.{n}.self_attn.v_proj.adapter_{end}" for n in (0, 1) for end in ("down", "up")}
    assert {name.rsplit(".", 1)[1] for name in optimizer.state()} == {"adapter_down", "adapter_up"}


def frozen_names(network: Transformer) -> set[str]:
    return {name for name, parameter in network.named_parameters() if not parameter.requires_grad}


def test_parts_are_frozen_by_name_range_and_star() -> None:
    network = small_network(depth=3)
    freeze(network, ["head", "layers.1-2.self_attn.q_proj", "layers.*.input_layernorm"])
    assert frozen_names(network) == {
        "lm_head.weight",
        *(f"model.layers.{number}.self_attn.q_proj.weight" for number in (1, 2)),
        *(f"model.layers.{number}.input_layernorm.weight" for number in (0, 1, 2)),
    }
    tied = small_network(tie_embeddings=True)
    freeze(tied, ["head"])
    assert frozen_names(tied) == {"model.embed_tokens.weight"}


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (
            "layers.2",
            r"names 'layers\.2', and the network has no layers\.2; it has embed_tokens, layers\.0, layers\.1, lm_head",
        ),
        ("layers.0-2.mlp", r"has no layers\.2\.mlp"),
        ("attention", "has no attention"),
    ],
)
def test_parts_that_are_not_there_are_refused(part: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=f"freeze .*{sentence}"):
        freeze(small_network(), [part])


def test_a_run_needs_something_to_train() -> None:
    with pytest.raises(ConfigurationError, match="leaves nothing to train"):
        freeze(small_network(), ["embedding", "head", "layers", "norm"])
    with pytest.raises(
        ConfigurationError, match="names 'lm_head', which is no matrix of the network; it has down_proj"
    ):
        add_adapters(small_network(), rank=1, alpha=1.0, targets=["lm_head"], seed=0)


def test_all_but_hidden_matrices_can_be_frozen() -> None:
    network = small_network(depth=1)
    freeze(
        network,
        ["embedding", "head", "norm", "layers.0.input_layernorm", "layers.0.post_attention_layernorm"],
    )
    freeze(network, ["layers.0.self_attn.q_norm", "layers.0.self_attn.k_norm"])
    network(torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.int64)).backward()
    rates = {f"{kind}_learning_rate": 0.1 for kind in ("matrix", "embedding", "head", "vector")}
    optimizer = Optimizer(network, **rates, weight_decay=0.0, dtype=torch.float32)
    before = network.model.layers[0].mlp.down_proj.weight.clone()
    optimizer.step(1.0)
    assert not torch.equal(network.model.layers[0].mlp.down_proj.weight, before)
    optimizer.load_state(optimizer.state())


def test_sizes_come_from_the_start_and_must_agree_with_what_is_set(tmp_path: Path) -> None:
    hugging_face_folder(tmp_path, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True)
    start = open_starting_point(tmp_path, origin="x", content_hash="x")
    found = derive(TransformerConfig(**CONFIG, depth=2, width=32), vocab_size=34, start=start.shape).shape
    assert isinstance(found, TransformerShape)
    assert (found.num_layers, found.width, found.num_kv_heads, found.head_width) == (2, 32, 2, 16)
    assert (found.feed_forward_width, found.tie_embeddings, found.context_tokens) == (48, True, 32)
    dropping = derive(TransformerConfig(**CONFIG, dropout=0.25), vocab_size=34, start=start.shape).shape
    assert (found.dropout, dropping.dropout) == (0.0, 0.25)
    with pytest.raises(ConfigurationError, match="depth is 4, but the model to begin with has 2"):
        derive(TransformerConfig(**CONFIG, depth=4), vocab_size=34, start=start.shape)
    with pytest.raises(ConfigurationError, match="tie_embeddings is False, but the model to begin with has True"):
        derive(TransformerConfig(**CONFIG, tie_embeddings=False), vocab_size=34, start=start.shape)


def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path: Path, tiny_data: Path, trained: Path) -> None:
    own = json.loads((tiny_data / "shards.json").read_text())
    start = open_starting_point(trained, origin="trained_model/base@1", content_hash="x")
    fit = {
        "name": "gpt",
        "family": "transformer",
        "tokenizer_hash": own["tokenizer_hash"],
        "vocab_size": own["vocab_size"],
    }
    assert check_fit(start, **fit) is None
    with pytest.raises(
        ConfigurationError, match="its token ids mean other text. Give the dataset that model's tokenizer"
    ):
        check_fit(start, **{**fit, "tokenizer_hash": "f" * 64})
    with pytest.raises(
        ConfigurationError, match="models.gpt is of the family lstm, but trained_model/base@1 is of the family"
    ):
        check_fit(start, **{**fit, "family": "lstm"})
    hugging_face_folder(tmp_path / "hf", vocab_size=own["vocab_size"] + 1)
    other = open_starting_point(tmp_path / "hf", origin="the folder hf", content_hash="x")
    with pytest.raises(ConfigurationError, match=f"its vocabulary has {own['vocab_size'] + 1} entries, the dataset's"):
        check_fit(other, **fit)
    remark = check_fit(other, **{**fit, "vocab_size": own["vocab_size"] + 1})
    assert remark is not None and "only the vocabulary's size" in remark
    (tmp_path / "hf" / "tokenizer.model").write_bytes((tiny_data / "tokenizer.model").read_bytes())
    beside = open_starting_point(tmp_path / "hf", origin="the folder hf", content_hash="x")
    assert beside.tokenizer_hash == own["tokenizer_hash"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "gpt2"}, "is a model of type 'gpt2'"),
        ({"attention_bias": True}, "config.json has attention_bias True"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "config.json has rope_type yarn"),
        ({"hidden_size": None}, "config.json has no 'hidden_size'"),
    ],
)
def test_what_cannot_be_built_here_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    hugging_face_folder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(
        json.dumps({key: value for key, value in config.items() if value is not None})
    )
    with pytest.raises(InputError, match=sentence):
        open_starting_point(tmp_path, origin="x", content_hash="x")


def test_weights_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    hugging_face_folder(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InputError, match="does not load"):
        begun(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match="holds no model.safetensors"):
        begun(tmp_path)


def test_a_recurrent_network_goes_on_too(tiny_data: Path, tmp_path: Path) -> None:
    vocab_size = json.loads((tiny_data / "shards.json").read_text())["vocab_size"]
    config = RecurrentConfig(family="gru", dataset="tokens", depth=1, width=16, context_tokens=32)
    sizes = asdict(derive(config, vocab_size=vocab_size).shape)
    first = {"family": "gru", "shape": sizes, "checkpoint_every_steps": None}
    Trainer(spec_of(tiny_data, tmp_path / "first", **first), StopRequest()).run()
    start = tmp_path / "first" / "output" / "model"
    spec = continuing(tiny_data, tmp_path / "second", start, family="gru", freeze=["embedding"])
    Trainer(spec, StopRequest()).run()
    before, after = (
        json.loads((tmp_path / name / "output" / "training.json").read_text()) for name in ("first", "second")
    )
    assert after["start_validation_loss"] == before["final_validation_loss"]
    assert after["final_validation_loss"] < after["start_validation_loss"]
    tables = [
        hashlib.sha256(weights_of(folder)["embed_tokens.weight"].numpy()).hexdigest()
        for folder in (start, tmp_path / "second" / "output" / "model")
    ]
    assert tables[0] == tables[1]
