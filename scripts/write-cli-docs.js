// Writes docs/cli.md from the help texts, so that it cannot drift from them.
// With --check it writes nothing and fails when the file is not what it would write.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createProgram } from '../dist/cli/program.js';

const file = fileURLToPath(new URL('../docs/cli.md', import.meta.url));
const COLUMNS = 100;

/** The help of a command as a terminal of 100 columns shows it, without colors. */
function helpOf(command) {
  let text = '';
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
    getOutHelpWidth: () => COLUMNS,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text.trimEnd();
}

const program = createProgram();
const section = (title, command) => `## ${title}\n\n\`\`\`\n${helpOf(command)}\n\`\`\`\n`;
const commands = program.commands.map((command) => [`knnlm ${command.name()}`, command]);
const page = [
  '# Command line\n\nWritten from the help texts by `npm run docs`. `knnlm COMMAND --help` prints the same.\n',
  `${commands.map(([title]) => `- [\`${title}\`](#${title.replaceAll(' ', '-')})`).join('\n')}\n`,
  section('knnlm', program),
  ...commands.map(([title, command]) => section(title, command)),
].join('\n');

if (process.argv.includes('--check')) {
  let found = '';
  try {
    found = readFileSync(file, 'utf8');
  } catch {}
  if (found !== page) {
    console.error('docs/cli.md is not what the help texts say. Run: npm run docs');
    process.exitCode = 1;
  }
} else {
  writeFileSync(file, page);
}
