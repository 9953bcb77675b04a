"""Does training on a GPU work, is it right, and how fast is it? One command, one JSON file, in stages with limits.

    python -m tests.bench.gpu --stages smoke,correctness,ceilings,layers --limit 200 --out gpu.json
    python -m tests.bench.gpu --stages steps,baselines,sweep --limit 440 --out gpu.json
    python -m tests.bench.gpu --device cpu --tiny --out tiny.json      # the same code without a GPU

It needs torch, numpy, scipy, scikit-learn, safetensors and the packages `trainer` and `tests` of this repository, but neither Ray nor
Plotly nor a network. `python tests/bench/gpu` is the same command, for machines on which another package called `tests` is installed.
docs/performance.md describes the stages, the protocol and the meaning of each number.

Each stage runs in its own process with a time limit. An item of a stage that fails is recorded with its reason, and the next one runs. If
the device is lost, or the process dies or hangs, the stage continues with the next item in a new process.
"""
