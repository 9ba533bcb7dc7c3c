/** `knnlm serve`: the OpenAI API over open stores, with a page to look at them. */
import { spawn } from 'node:child_process';
import { type Command, Option } from 'commander';
import type { KnnLM } from '../../knnlm/knnlm.ts';
import { openKnnLM } from '../../open.ts';
import { giveHeapRoom } from '../../server/heap-room.ts';
import {
  checkServeOptions,
  type Listening,
  type ServeOptions,
  serve,
} from '../../server/listen.ts';
import { defineCommand } from '../command.ts';
import { count } from '../numbers.ts';
import {
  addMachineOptions,
  byteSize,
  collect,
  type MachineOptions,
  machineOptions,
  number,
  positiveInteger,
  wholeNumber,
} from '../options.ts';
import type { Screen } from '../screen.ts';
import { oneLine } from '../text.ts';

interface ServeCommandOptions extends MachineOptions {
  port?: number;
  host?: string;
  apiKey?: string;
  cors?: string[];
  allowHost?: string[];
  readOnly?: boolean;
  page: boolean;
  open?: boolean;
  concurrency?: number;
  queue?: number;
  timeout?: number;
  grace?: number;
  maxBody?: number;
  maxPrompt?: number;
  maxTokens?: number;
}

/** Seconds. */
const DEFAULT_GRACE = 30;

export const serveCommand = () =>
  defineCommand<ServeCommandOptions, [stores: string[]]>({
    name: 'serve',
    summary: "answer OpenAI's API over HTTP, with a page that shows the memory at work",
    description:
      "Serves stores through OpenAI's API: completions and chat with log-probabilities of the mixture, and under /v1/knn what " +
      'the memory has to say: neighbors, documents, scores. At / is a page to look at all of it. Only this machine reaches it ' +
      'unless --host says otherwise, and then a key is needed.',
    examples: [
      ['knnlm serve notes.knn --open', 'and open the page'],
      ['knnlm serve notes.knn letters.knn --port 9000 --read-only', 'two stores as one'],
      [
        'KNNLM_API_KEY=secret knnlm serve notes.knn --host 0.0.0.0',
        'for other machines, with a key',
      ],
      [
        'curl localhost:8080/v1/completions -H "content-type: application/json" -d \'{"prompt": "It is", "knn": {"include_neighbors": 2}}\'',
        'ask it',
      ],
    ],
    configure: addServeOptions,
    onInterrupt: 'Finishing what was started. Ctrl-C again ends at once.',
    async run([stores], options, { screen, signal }) {
      const serving = serveOptions(options, screen);
      checkServeOptions(serving);
      const memory = await openKnnLM(stores, {
        ...machineOptions(options),
        onDownload: screen.download,
        onWarning: (message) => screen.warn(message),
        signal,
      });
      try {
        // The first client need not wait for the model, and what is wrong with it is said now.
        await memory.query([]);
        giveHeapRoom();
        const listening = await serve(memory, serving);
        screen.result(started(listening, memory), () => startedText(listening, memory));
        if (options.open) openBrowser(listening.url, screen);
        await aborted(signal);
        await listening.close({ graceMs: (options.grace ?? DEFAULT_GRACE) * 1000 });
      } finally {
        await memory.close();
      }
    },
  });

function addServeOptions(command: Command): void {
  const option = (flags: string, text: string, parse: (value: string) => number) =>
    command.addOption(new Option(flags, text).argParser(parse));
  command.argument(
    '<store...>',
    'folders of the stores, or milvus://host:port/collection, searched as one',
  );
  command.optionsGroup('Where:');
  option(
    '--port <n>',
    '0 takes any that is free (default: 8080)',
    number({ min: 0, max: 65_535, integer: true }),
  );
  command
    .option('--host <address>', 'where to listen; 0.0.0.0 is everywhere (default: 127.0.0.1)')
    .option('--open', 'open the page in a browser')
    .option('--no-page', 'the API only');
  command.optionsGroup('Who may ask, and what:');
  command
    .option(
      '--api-key <key>',
      'clients must send this (also: KNNLM_API_KEY, which no list of processes shows)',
    )
    .option('--cors <origin>', 'let pages of this origin ask (repeatable)', collect)
    .option(
      '--allow-host <name>',
      'another name by which the server may be called, such as that of a proxy (repeatable)',
      collect,
    )
    .option('--read-only', 'no document is added or removed');
  command.optionsGroup('How much:');
  option('--concurrency <n>', 'texts generated or scored at once (default: 16)', positiveInteger);
  option('--queue <n>', 'requests that may wait (default: 256)', positiveInteger);
  option('--timeout <seconds>', 'longest time for a request (default: 600)', positiveInteger);
  option('--max-prompt <n>', 'tokens of a prompt (default: 32768)', positiveInteger);
  option('--max-tokens <n>', 'tokens of a completion (default: 16384)', positiveInteger);
  option('--max-body <size>', 'largest document to add (default: 16MiB)', byteSize);
  option(
    '--grace <seconds>',
    'time to finish what was started, after Ctrl-C (default: 30)',
    wholeNumber,
  );
  addMachineOptions(command);
}

function serveOptions(options: ServeCommandOptions, screen: Screen): ServeOptions {
  return {
    port: options.port,
    host: options.host,
    apiKey: options.apiKey ?? (process.env.KNNLM_API_KEY || undefined),
    cors: options.cors,
    hosts: options.allowHost,
    readOnly: options.readOnly,
    page: options.page,
    concurrency: options.concurrency,
    queue: options.queue,
    timeoutMs: options.timeout && options.timeout * 1000,
    bodyBytes: options.maxBody,
    promptTokens: options.maxPrompt,
    maxTokens: options.maxTokens,
    onError(error, { method, path, id }) {
      const isDebug = Boolean(process.env.KNNLM_DEBUG);
      const { message, stack } = error instanceof Error ? error : new Error(String(error));
      screen.warn(`${method} ${oneLine(path)} (${id}): ${oneLine(message)}`);
      if (isDebug && stack) screen.note(stack);
    },
  };
}

function started({ url, host, port }: Listening, memory: KnnLM) {
  return {
    url,
    host,
    port,
    model: memory.model.info.name,
    stores: memory.stores.map(({ name, info: { documents, entries } }) => ({
      name,
      documents,
      entries,
    })),
  };
}

function startedText({ url }: Listening, memory: KnnLM): string {
  const stores = memory.stores.map(({ name, info }) => `${name} (${count(info.entries)} entries)`);
  return [
    `Serving ${stores.join(', ')} with ${memory.model.info.name}`,
    `  page     ${url}/`,
    `  OpenAI   ${url}/v1`,
    `  schemas  ${url}/openapi.json`,
  ].join('\n');
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** By what the system has for it. That there is none is no reason not to serve. */
function openBrowser(url: string, screen: Screen): void {
  const commands: Partial<Record<NodeJS.Platform, string[]>> = {
    darwin: ['open'],
    win32: ['cmd', '/c', 'start', ''],
  };
  const [command, ...given] = commands[process.platform] ?? ['xdg-open'];
  const child = spawn(command!, [...given, url], { stdio: 'ignore', detached: true });
  child.on('error', () => screen.note(`No browser could be opened. The page is at ${url}/`));
  child.unref();
}
