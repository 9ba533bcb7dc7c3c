"""FAISS IndexFlatL2 as the other side of exact.js: reads one JSON line of settings, then one line per measurement.

Each later line is a batch size; the answer is the seconds taken to search all queries in batches of that size. `check`
answers the ids of the first queries.
"""
import json
import sys
import time

import faiss
import numpy as np

settings = json.loads(sys.stdin.readline())
k = settings["k"]
faiss.omp_set_num_threads(settings["threads"])


def rows(source, most):
    dtype = "<f2" if source["dtype"] == "fp16" else "<f4"
    flat = np.fromfile(source["path"], dtype, offset=source["byteOffset"], count=most * source["dim"])
    return flat.reshape(-1, source["dim"]).astype(np.float32)


queries = rows(settings["queries"], settings["q"])
index = faiss.IndexFlatL2(settings["keys"]["dim"])
index.add(rows(settings["keys"], settings["n"]))
print(json.dumps({"version": faiss.__version__, "options": faiss.get_compile_options()}), flush=True)

for line in sys.stdin:
    command = json.loads(line)
    some = queries[: command["count"]]
    size = command["batch"]
    start = time.perf_counter()
    for first in range(0, len(some), size):
        distances, ids = index.search(some[first : first + size], k)
    print(json.dumps({"seconds": time.perf_counter() - start, "ids": ids[-1].tolist()}), flush=True)
