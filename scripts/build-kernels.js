// Compiles every AssemblyScript file in kernels/ that exports kernels to dist/indexes/kernels/NAME.wasm.
// Kernels import a shared memory, one for all workers; NAME.private.ts files import one that is a worker's own, because
// onnxruntime cannot read shared memory. Files in kernels/lib/ are only imported by others.
import { mkdirSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = `${root}dist/indexes/kernels`;
mkdirSync(out, { recursive: true });

for (const file of readdirSync(`${root}kernels`).filter((name) => name.endsWith('.ts'))) {
  const name = file.slice(0, -3);
  const isShared = !name.endsWith('.private');
  const features = ['simd', ...(isShared ? ['threads'] : [])];
  const { error, stderr } = await asc.main([
    `kernels/${file}`,
    '--outFile',
    `dist/indexes/kernels/${name}.wasm`,
    '--baseDir',
    root,
    '-O3',
    '--noAssert',
    '--runtime',
    'stub',
    '--importMemory',
    ...(isShared ? ['--sharedMemory'] : []),
    '--initialMemory',
    '1',
    '--maximumMemory',
    '65536',
    ...features.flatMap((feature) => ['--enable', feature]),
  ]);
  if (error) {
    console.error(`${stderr}`);
    throw error;
  }
}
