/**
 * A Milvus Lite of its own for a test: the same API as a cluster, on loopback, where Python and the packages are present
 * (pip install milvus-lite pymilvus; $KNNLM_PYTHON, $PYTHON or python3).
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const python = process.env.KNNLM_PYTHON ?? process.env.PYTHON ?? 'python3';
const probe = 'import milvus_lite.adapter.grpc.server, pymilvus';
export const hasMilvusLite =
  spawnSync(python, ['-c', probe], { stdio: 'ignore', timeout: 60_000 }).status === 0;
/** For the names of suites: says why they were skipped. */
export const missing = hasMilvusLite
  ? ''
  : ` (skipped: ${python} has no milvus-lite; pip install milvus-lite pymilvus)`;

/** Ends with the process that started it, whose end closes its standard input. */
const SERVER = `
import os, sys
from milvus_lite.adapter.grpc.server import start_server_in_thread
server, db, port = start_server_in_thread(sys.argv[1], port=int(sys.argv[2]))
print(port, flush=True)
sys.stdin.read()
server.stop(grace=1)
db.close()
os._exit(0)
`;

export class MilvusLite {
  readonly port: number;
  readonly #folder: string;
  #process: ChildProcess;

  private constructor(folder: string, child: ChildProcess, port: number) {
    this.#folder = folder;
    this.#process = child;
    this.port = port;
  }

  /** @param folder for its data */
  static async start(folder: string): Promise<MilvusLite> {
    const child = launch(folder, 0);
    return new MilvusLite(folder, child, await portOf(child));
  }

  url(collection: string): `milvus://${string}` {
    return `milvus://127.0.0.1:${this.port}/${collection}`;
  }

  /** As a crash does. */
  async kill(): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await ended;
  }

  /** Again, on the same port and data. */
  async restart(): Promise<void> {
    this.#process = launch(this.#folder, this.port);
    await portOf(this.#process);
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.stdin!.end();
    await ended;
  }
}

function launch(folder: string, port: number): ChildProcess {
  return spawn(python, ['-c', SERVER, folder, `${port}`], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });
}

async function portOf(child: ChildProcess): Promise<number> {
  for await (const line of createInterface({ input: child.stdout! })) return Number(line);
  throw new Error('Milvus Lite did not start.');
}
