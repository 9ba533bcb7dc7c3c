/** What every command has: --json, --no-color, a screen, and a clean end on Ctrl-C. */
import { Command } from 'commander';
import { interruptible } from './interrupt.ts';
import { Screen } from './screen.ts';

export interface CommonOptions {
  json?: boolean;
  color: boolean;
}

export interface Session {
  screen: Screen;
  /** Aborted by the first Ctrl-C. */
  signal: AbortSignal;
}

export interface CommandDefinition<Options, Arguments extends unknown[]> {
  name: string;
  /** One line, for the list of commands. */
  summary: string;
  /** What it does, in full sentences. */
  description: string;
  /** Command lines that show it at work, with a word on each. */
  examples: readonly (readonly [command: string, meaning: string])[];
  /** Adds arguments and options. */
  configure: (command: Command) => void;
  /** Said on the first Ctrl-C. */
  onInterrupt?: string;
  /** @param positional the command's arguments, in order */
  run: (positional: Arguments, options: Options & CommonOptions, session: Session) => Promise<void>;
}

export function defineCommand<Options, Arguments extends unknown[]>(
  definition: CommandDefinition<Options, Arguments>,
): Command {
  const command = new Command(definition.name)
    .summary(definition.summary)
    .description(definition.description);
  definition.configure(command);
  command
    .optionsGroup('Output:')
    .option('--json', 'print JSON on standard output and nothing else there')
    .option('--no-color', 'no colors (also: NO_COLOR=1)')
    .helpOption('-h, --help', 'show this help')
    .addHelpText('after', examplesText(definition.examples));
  return command.action(async (...parameters: unknown[]) => {
    // Commander passes the arguments, then the options, then the command.
    const options = parameters.at(-2) as Options & CommonOptions;
    const screen = new Screen(options);
    try {
      await interruptible(
        (signal) =>
          definition.run(parameters.slice(0, -2) as Arguments, options, { screen, signal }),
        () => screen.note(definition.onInterrupt ?? 'Stopping. Ctrl-C again ends at once.'),
      );
    } finally {
      screen.clearProgress();
    }
  });
}

function examplesText(examples: CommandDefinition<unknown, unknown[]>['examples']): string {
  const lines = examples.map(([command, meaning]) => `  # ${meaning}\n  $ ${command}`);
  return `\nExamples:\n${lines.join('\n')}`;
}
