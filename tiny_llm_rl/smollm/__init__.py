"""A pretrained model of the Llama family in JAX: SmolLM2-135M from a package index, or any local one.

`config` and `model` are the architecture, `weights` reads and writes Hugging Face directories, `gguf_file` converts
GGUF, `fetch` obtains SmolLM2, `chat` is its tokenizer and template, `tasks` are questions for it, `lora` its adapters,
and `training` hands all of it to `tiny_llm_rl.train`. Needs the extra `smollm` for the tokenizer and GGUF files.
"""
