"""LoRA steps with transformers and PEFT, for `against_peft.py`, in an environment with torch.

The job is JSON in the first argument. For each number of steps on standard input it trains them and
prints their seconds. Does not need this kit.
"""

import json
import resource
import sys
import time

import numpy as np
import peft
import torch
import transformers


def build(sizes: dict, dtype: str, device: str) -> torch.nn.Module:
    """A Gemma with random weights and LoRA of rank 4 on query and value."""
    config = transformers.GemmaConfig(
        vocab_size=sizes["vocabulary_size"],
        num_hidden_layers=sizes["num_layers"],
        num_attention_heads=sizes["num_query_heads"],
        num_key_value_heads=sizes["num_key_value_heads"],
        hidden_size=sizes["hidden_dim"],
        intermediate_size=sizes["intermediate_dim"],
        head_dim=sizes["head_dim"],
        attn_implementation="sdpa",
        use_cache=False,
    )
    with torch.device(device):
        torch.set_default_dtype(getattr(torch, dtype))
        model = transformers.GemmaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    adapters = peft.LoraConfig(r=4, lora_alpha=4, lora_dropout=0.0, target_modules=["q_proj", "v_proj"])
    return peft.get_peft_model(model, adapters).train()


def main() -> None:
    """Build the model, then train as asked."""
    job = json.loads(sys.argv[1])
    device = "cuda" if job["platform"] == "gpu" else "cpu"
    torch.manual_seed(0)
    model = build(job["sizes"], job["dtype"], device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01)
    forward = torch.compile(model) if job["mode"] == "compiled" else model
    ids = np.random.default_rng(0).integers(3, 2048, (job["batch"], job["length"]))
    tokens = torch.tensor(ids, device=device)
    mask = torch.ones_like(tokens)
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    versions = {module.__name__: module.__version__ for module in (torch, transformers, peft)}
    print(
        json.dumps({"device": name, "versions": versions, "trained": sum(value.numel() for value in trained)}),
        flush=True,
    )
    for line in sys.stdin:
        times = [(time.perf_counter(), time.process_time())]
        for _ in range(int(line)):
            loss = forward(input_ids=tokens, attention_mask=mask, labels=tokens).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            value = loss.item()
            times.append((time.perf_counter(), time.process_time()))
        seconds, cpu_seconds = np.diff(times, axis=0).T.tolist()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if device == "cuda":
            peak = torch.cuda.max_memory_allocated()
        answer = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak, "loss": value}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
