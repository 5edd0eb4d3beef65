from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from warmstart.data.synthetic import generate
from warmstart.errors import HubError, ModelError, RunDirError, TrainingError
from warmstart.export import Sampling, export_adapter, export_merged
from warmstart.hub import files_to_push, push
from warmstart.models import add_adapter, load_base, load_tokenizer, merged_weights
from warmstart.progress import Quiet
from warmstart.rollouts import generate as complete
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.sft import supervise, train_sft

CAP = 32
SAMPLING = Sampling(temperature=0.6, top_p=0.95, max_tokens=CAP)


@pytest.fixture(scope="module")
def prompter():
    return make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)


@pytest.fixture(scope="module")
def prompts(prompter):
    return [prompter.prompt_ids(problem.question) for problem in generate(64, seed=5, split="eval")]


@pytest.fixture(scope="module")
def adapter(prompter, tmp_path_factory):
    """An adapter that training made, with its tokenizer and card."""
    folder = tmp_path_factory.mktemp("trained") / "adapter"
    train_sft(
        add_adapter(load_base("tiny"), rank=8, alpha=16, dropout=0.0, target_modules="all-linear", seed=0),
        prompter,
        supervise(prompter, generate(64, seed=0, split="train"), max_tokens=500).rows,
        folder=folder, steps=24, batch_size=8, micro_batch=8, learning_rate=5e-3, warmup_ratio=0.1,
        gradient_checkpointing=False, seed=0, trl={}, progress=Quiet(), sink=lambda line: None,
    )  # fmt: skip
    (folder / "README.md").write_text("---\nlibrary_name: peft\n---\n# A card\n")
    return folder


@pytest.fixture(scope="module")
def merged(adapter, prompts, tmp_path_factory):
    """The merged model and its proof."""
    folder = tmp_path_factory.mktemp("exported") / "merged"
    return folder, export_merged(
        adapter, folder, base="tiny", revision=None, prompts=prompts[:8], sampling=SAMPLING
    )


@pytest.mark.slow
def test_adapter_merged_and_reloaded_write_the_same_greedy_text_on_64_prompts(
    adapter, prompts, tmp_path
) -> None:
    from peft import PeftModel

    longer = Sampling(max_tokens=64)
    proof = export_merged(
        adapter, tmp_path / "out", base="tiny", revision=None, prompts=prompts, sampling=longer
    )
    assert (proof.prompts, proof.equal, proof.ties) == (64, 64, 0)
    adapted = PeftModel.from_pretrained(load_base("tiny"), str(adapter))
    # As anyone loads it, without warmstart.
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    texts = [
        [group[0].text for group in complete(one, tokenizer, prompts, max_tokens=64, batch_size=64)]
        for one in (adapted, model)
    ]
    assert texts[0] == texts[1]


def test_the_proof_says_that_the_texts_are_equal_and_the_training_is_in_them(
    merged, prompter, prompts
) -> None:
    folder, proof = merged
    assert (proof.prompts, proof.equal, proof.ties) == (8, 8, 0)
    assert proof.changed_share > 0.9
    assert proof.largest_gap < 0.1 < proof.update_gap
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    texts = complete(model, prompter.tokenizer, prompts[:8], max_tokens=8, batch_size=8)
    assert any("<reasoning>" in group[0].text for group in texts)


def test_the_merged_model_is_sixteen_bits_with_template_stop_tokens_and_sampling(merged, prompter) -> None:
    folder, proof = merged
    weights = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}, "as the base is stored"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    question = [{"role": "user", "content": "1 + 1?"}]
    shown = [
        one.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        for one in (tokenizer, prompter.tokenizer)
    ]
    assert shown[0] == shown[1]
    config = GenerationConfig.from_pretrained(folder)
    assert config.eos_token_id == [prompter.end_id]
    assert (config.temperature, config.top_p, config.max_new_tokens) == (0.6, 0.95, CAP)
    assert json.loads((folder / "export.json").read_text())["equal"] == proof.equal
    assert "library_name: transformers" in (folder / "README.md").read_text()


def test_merging_touches_neither_the_base_nor_the_adapter() -> None:
    model = add_adapter(load_base("tiny"), rank=4, alpha=8, dropout=0.0, target_modules=["q_proj"], seed=0)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    summed = merged_weights(model)
    assert sorted(summed) == [f"model.layers.{n}.self_attn.q_proj.weight" for n in range(4)]
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    by_hand = layer.base_layer.weight + 2.0 * layer.lora_B.default.weight @ layer.lora_A.default.weight
    torch.testing.assert_close(summed["model.layers.0.self_attn.q_proj.weight"], by_hand)


def test_a_merged_model_that_equals_the_base_is_refused_and_leaves_nothing(
    prompter, prompts, tmp_path
) -> None:
    fresh = add_adapter(load_base("tiny"), rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    fresh.save_pretrained(tmp_path / "fresh")
    prompter.tokenizer.save_pretrained(tmp_path / "fresh")
    with pytest.raises(TrainingError, match="the merged model equals the base"):
        export_merged(
            tmp_path / "fresh",
            tmp_path / "out",
            base="tiny",
            revision=None,
            prompts=prompts[:2],
            sampling=SAMPLING,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh"]


def test_a_four_bit_base_is_not_merged_into() -> None:
    base = load_base("tiny", quantization="nf4")
    model = add_adapter(base, rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    with pytest.raises(ModelError, match="cannot be merged exactly: Linear4bit"):
        merged_weights(model)


def test_an_adapter_is_exported_with_its_bases_name_and_what_a_server_reads(adapter, tmp_path) -> None:
    export_adapter(adapter, tmp_path / "out", base="tiny", revision=None, sampling=SAMPLING)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert {"adapter_model.safetensors", "chat_template.jinja", "generation_config.json", "README.md"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    with pytest.raises(RunDirError, match="is already there"):
        export_adapter(adapter, tmp_path / "out", base="tiny", revision=None, sampling=SAMPLING)
    with pytest.raises(RunDirError, match="holds no adapter"):
        export_adapter(tmp_path, tmp_path / "other", base="tiny", revision=None, sampling=SAMPLING)


def test_what_is_pushed_has_weights_and_a_card_and_no_traces_of_training(merged, tmp_path) -> None:
    folder, _ = merged
    names = [path.name for path in files_to_push(folder)]
    assert {"model.safetensors", "README.md", "generation_config.json", "chat_template.jinja"} <= set(names)
    assert "export.json" not in names
    with pytest.raises(RunDirError, match="holds no weights"):
        files_to_push(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunDirError, match="has no model card"):
        files_to_push(tmp_path)


def test_a_hub_that_cannot_be_reached_is_a_sentence(merged, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder, _ = merged
    with pytest.raises(HubError, match="me/nothing could not be written"):
        push(folder, files_to_push(folder), "me/nothing", private=True)
