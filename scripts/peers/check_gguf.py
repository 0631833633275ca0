"""Compares llama.cpp's logits and tokens of a GGUF file with transformers' of the folder it was made of.

    python scripts/peers/check_gguf.py FOLDER FILE.gguf

Packages: requirements-quant.txt (llama-cpp-python, transformers).
"""

import sys

import llama_cpp
import numpy
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = "the theme of the 1234 there: what is 17 + 25? The answer is 42, it's there. "


def main() -> None:
    folder, file = sys.argv[1:3]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer.encode(TEXT)
    llama = llama_cpp.Llama(file, n_ctx=512, logits_all=True, verbose=False, n_threads=2)
    theirs = llama.tokenize(TEXT.encode(), add_bos=True, special=True)
    # A model in bfloat16 computes in it; what is compared is the weights.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0].numpy()
    llama.eval(tokens)
    found = numpy.array(llama.scores[: len(tokens)])[:, : expected.shape[1]]
    error = numpy.linalg.norm(found - expected) / numpy.linalg.norm(expected)
    agree = (found.argmax(1) == expected.argmax(1)).mean()
    words = "same tokens" if theirs == tokens else f"other tokens: {theirs} instead of {tokens}"
    print(f"{file}: relative error of the logits {error:.1e}, likeliest token in {agree:.0%} the same, {words}")


main()
