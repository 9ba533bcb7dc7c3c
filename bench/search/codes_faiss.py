"""The table of bytes.js for codes that faiss has, to compare what rotation and residuals are worth.

    node bench/search/bytes.js STORE TEXT --ask /tmp/asked
    python bench/search/codes_faiss.py STORE /tmp/asked [ENTRIES]

Over the first ENTRIES keys of the store (400,000), every code read in full: what is lost is the code's alone. λ and T are
chosen on the queries of every other document, figures are of the rest. JSON on the last line.
"""

import json
import sys
import time
from pathlib import Path

import faiss
import numpy as np

K = 1024
store, asked = Path(sys.argv[1]), sys.argv[2]
entries = int(sys.argv[3]) if len(sys.argv) > 3 else 400_000
faiss.omp_set_num_threads(2)
manifest = json.loads((store / "manifest.json").read_text("utf-8"))
d = manifest["key"]["dim"]
segment = store / "segments" / manifest["segments"][0]["name"]
keys = np.fromfile(segment / "keys.f16", "<f2", entries * d).reshape(-1, d).astype(np.float32)
value_type = manifest["values"]["dtype"]
values = np.fromfile(segment / f"values.{value_type}", {"u16": "<u2", "u32": "<u4"}[value_type], entries)
facts = json.loads(Path(f"{asked}.json").read_text())
queries = np.fromfile(f"{asked}.f32", np.float32).reshape(-1, d)
targets, log_probs = np.array(facts["targets"]), np.array(facts["logProbs"])
odd = np.array(facts["units"]) % 2 == 1
TEMPERATURES = [round(1.5 * 1.25**i, 2) for i in range(16)]
LAMBDAS = [round(0.05 * (i + 1), 2) for i in range(18)]


def mixtures(distances, ids):
    """(T, λ, q) log-probabilities of the true tokens."""
    match = values[ids] == targets[:, None]
    out = np.empty((len(TEMPERATURES), len(LAMBDAS), len(queries)))
    for t, temperature in enumerate(TEMPERATURES):
        w = np.exp(-(distances - distances[:, :1]) / temperature)
        p = (w * match).sum(1) / w.sum(1)
        for l, weight in enumerate(LAMBDAS):
            out[t, l] = np.log(weight * p + (1 - weight) * np.exp(log_probs))
    return out


def choose(logs):
    loss = -logs[:, :, ~odd].mean(2)
    return np.unravel_index(loss.argmin(), loss.shape)


def search(index):
    distances, ids = index.search(queries, K)
    return np.maximum(distances, 0), ids


flat = faiss.IndexFlatL2(d)
flat.add(keys)
exact_distances, exact_ids = search(flat)
exact = mixtures(exact_distances, exact_ids)
best = choose(exact)
reports = []
for name in ["PCA64,SQ8", "PCA32,SQ8", "PCA64,SQ4", "PCA16,SQ8", "PQ32", "OPQ32_256,PQ32", "IVF2048,PQ32", "PQ16", "PQ64x4"]:
    started = time.time()
    index = faiss.index_factory(d, name)
    if name.startswith("OPQ"):
        faiss.downcast_VectorTransform(index.chain.at(0)).niter = 10
    if name.startswith("IVF"):
        faiss.extract_index_ivf(index).nprobe = 2048
    index.train(keys[np.random.default_rng(1).choice(entries, 65536, False)])
    index.add(keys)
    distances, ids = search(index)
    logs = mixtures(distances, ids)
    mine = choose(logs)
    change = lambda at: 100 * (np.exp(-(logs[at] - exact[best])[odd].mean()) - 1)
    reports.append({
        "codes": name,
        "bytes": index.sa_code_size(),
        "recall": round(float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(ids, exact_ids)])), 4),
        "samePercent": round(change(best), 2),
        "tunedPercent": round(change(mine), 2),
        "lambda": LAMBDAS[mine[1]],
        "temperature": TEMPERATURES[mine[0]],
        "seconds": round(time.time() - started, 1),
    })
    print(json.dumps(reports[-1]), flush=True)
print(json.dumps({"entries": entries, "queries": len(queries), "exact": round(float(np.exp(-exact[best][odd].mean())), 4), "reports": reports}))
