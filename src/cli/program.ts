/** The command table. A command is one file in commands/; a new one is one line here. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addCommand } from './commands/add.ts';
import { buildCommand } from './commands/build.ts';
import { compactCommand } from './commands/compact.ts';
import { demoCommand } from './commands/demo.ts';
import { evalCommand } from './commands/eval.ts';
import { experimentCommand } from './commands/experiment.ts';
import { exportCommand } from './commands/export.ts';
import { generateCommand } from './commands/generate.ts';
import { importCommand } from './commands/import.ts';
import { indexCommand } from './commands/index.ts';
import { infoCommand } from './commands/info.ts';
import { modelCommand } from './commands/model.ts';
import { removeCommand } from './commands/remove.ts';
import { searchCommand } from './commands/search.ts';
import { serveCommand } from './commands/serve.ts';
import { translateCommand } from './commands/translate.ts';
import { tuneCommand } from './commands/tune.ts';
import { updateCommand } from './commands/update.ts';
import { verifyCommand } from './commands/verify.ts';
import { watchCommand } from './commands/watch.ts';

/** Under these headings, in this order, `knnlm --help` lists them. */
const COMMANDS: readonly (readonly [heading: string, commands: readonly (() => Command)[]])[] = [
  ['Start here:', [demoCommand]],
  [
    'A store of documents:',
    [
      buildCommand,
      indexCommand,
      infoCommand,
      addCommand,
      updateCommand,
      removeCommand,
      watchCommand,
      compactCommand,
      verifyCommand,
      exportCommand,
      importCommand,
    ],
  ],
  [
    'Using a store:',
    [generateCommand, translateCommand, searchCommand, evalCommand, tuneCommand, serveCommand],
  ],
  ['Models and findings:', [modelCommand, experimentCommand]],
];

export function createProgram(): Command {
  const program = new Command('knnlm')
    .description(
      'kNN-LM (Khandelwal et al. 2020): gives any pretrained causal language model a memory of your documents. It reads ' +
        'them once, stores one (key, value) pair per token, and from then on mixes the next-token distribution of the ' +
        'model with that of the nearest stored contexts. Every predicted token can be traced to the documents that voted for it.',
    )
    .version(version(), '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand(false)
    .addHelpText('after', FOOTER);
  for (const [heading, commands] of COMMANDS) {
    for (const create of commands) program.addCommand(create().helpGroup(heading));
  }
  for (const command of [program, ...program.commands]) {
    command
      .exitOverride()
      .configureOutput({
        // One line: commander puts "(Did you mean …?)" on a second.
        outputError: (text, write) => write(`${text.trim().replace(/\s*\n\s*/g, ' ')}\n`),
      })
      .showHelpAfterError(false);
  }
  return program;
}

const FOOTER = `
DOCS and TEXT are files, folders, globs or - for standard input: .txt, .md,
.html, .jsonl ({"id", "text", "metadata"?}), each also .gz, and .parquet with a
text column. MODEL is a folder, a Hugging Face hub id of an ONNX export, or
wiki-mini-2, the small bundled one.

Progress and warnings go to standard error. Exit status: 0, 1 for a fault of
knnlm (KNNLM_DEBUG=1 shows where), 2 for something you can mend, 130 after
Ctrl-C.`;

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return JSON.parse(readFileSync(file, 'utf8')).version;
}
