/** Bundles the inspector into dist/web, from where `knnlm serve` serves it. */
import { fileURLToPath } from 'node:url';
import { defineConfig, type ProxyOptions } from 'vite';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** While the page is worked on (`npm run dev:web`) a server that runs already answers. */
const toServer: ProxyOptions = {
  target: process.env.KNNLM_SERVER ?? 'http://127.0.0.1:8080',
  changeOrigin: true,
  // The server hears pages of its own origin only.
  configure: (proxy) => proxy.on('proxyReq', (request) => request.removeHeader('origin')),
};

export default defineConfig({
  root: here('.'),
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  server: { proxy: { '/v1': toServer, '/detokenize': toServer } },
  build: {
    outDir: here('../dist/web'),
    emptyOutDir: true,
    target: 'es2022',
    // The content security policy allows no data: fonts, and a file of its own is cached for good.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
