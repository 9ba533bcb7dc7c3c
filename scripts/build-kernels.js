// Compiles every AssemblyScript file in kernels/ that exports kernels to dist/indexes/kernels/NAME.wasm.
// NAME.relaxed.ts files use relaxed SIMD: a runtime without it cannot load them, so they are modules of their own.
import { mkdirSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = `${root}dist/indexes/kernels`;
mkdirSync(out, { recursive: true });

for (const file of readdirSync(`${root}kernels`).filter((name) => name.endsWith('.ts'))) {
  const name = file.slice(0, -3);
  const features = ['simd', 'threads', ...(name.endsWith('.relaxed') ? ['relaxed-simd'] : [])];
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
    '--sharedMemory',
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
