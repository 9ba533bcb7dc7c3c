import { describe, expect, it } from 'vitest';
import { describeFailure } from '../../dist/cli/failure.js';
import { ProgressBar } from '../../dist/cli/progress-bar.js';
import { colorDepth, Screen } from '../../dist/cli/screen.js';
import { KnnLMError } from '../../dist/errors.js';

/** A stream that remembers what was written. */
function sink(
  terminal: Partial<{ isTTY: boolean; columns: number; getColorDepth: () => number }> = {},
) {
  return {
    text: '',
    write(part: string) {
      this.text += part;
    },
    ...terminal,
  };
}

describe('color', () => {
  const terminal = sink({ isTTY: true, getColorDepth: () => 8 });

  it('is what the terminal can do, and none elsewhere', () => {
    expect(colorDepth(terminal, { environment: {} })).toBe(8);
    expect(colorDepth(sink(), { environment: {} })).toBe(1);
  });

  it('is off with --no-color and NO_COLOR, and on with FORCE_COLOR', () => {
    expect(colorDepth(terminal, { environment: {}, color: false })).toBe(1);
    expect(colorDepth(terminal, { environment: { NO_COLOR: '1', FORCE_COLOR: '1' } })).toBe(1);
    expect(colorDepth(sink(), { environment: { FORCE_COLOR: '3' } })).toBe(24);
    expect(colorDepth(sink(), { environment: { FORCE_COLOR: '3' }, color: false })).toBe(1);
  });
});

describe('Screen', () => {
  it('writes results to standard output and everything else to standard error', () => {
    const [stdout, stderr] = [sink(), sink()];
    const screen = new Screen({ stdout, stderr, json: true, environment: {} });
    screen.note('a plan');
    screen.warn('a warning');
    screen.result({ entries: 3 }, () => 'never asked for');
    expect(stdout.text).toBe('{"entries":3}\n');
    expect(stderr.text).toBe('a plan\nwarning: a warning\n');
  });

  it('takes the bar off the terminal before writing anything else', () => {
    const stderr = sink({ isTTY: true, columns: 100 });
    const screen = new Screen({ stdout: sink(), stderr, environment: {} });
    screen.progress({ phase: 'reading', done: 1, total: 2, unit: 'tokens' });
    screen.note('a note');
    expect(stderr.text).toContain('50%');
    expect(stderr.text.endsWith('\x1b[K\r\x1b[Ka note\n')).toBe(true);
  });
});

describe('ProgressBar', () => {
  const colors = new Screen({ color: false }).colors;

  it('redraws one line on a terminal and never passes its width', () => {
    const stream = sink({ isTTY: true, columns: 60 });
    let time = 0;
    const bar = new ProgressBar({ stream, colors, now: () => time });
    for (let done = 0; done <= 30_000; done += 1000) {
      time += 200;
      bar.update({ phase: 'building', done, total: 30_000, unit: 'tokens' });
    }
    expect(stream.text).not.toContain('\n');
    const frames = stream.text
      .split('\r')
      .slice(1)
      .map((frame) => frame.replace('\x1b[K', ''));
    expect(frames).toHaveLength(31);
    for (const frame of frames) expect(frame.length).toBeLessThan(60);
    expect(frames[15]).toContain('50% · 15,000');
  });

  it('says rate and remaining time in a plain line every five seconds elsewhere', () => {
    const stream = sink();
    let time = 0;
    const bar = new ProgressBar({ stream, colors, now: () => time });
    for (let second = 0; second <= 12; second++, time += 1000)
      bar.update({ phase: 'building', done: second * 500, total: 20_000, unit: 'tokens' });
    expect(stream.text).toBe(
      'building: 12%, 2,500 of 20,000 tokens, 500/s, 35 s left\n' +
        'building: 25%, 5,000 of 20,000 tokens, 500/s, 30 s left\n',
    );
  });

  it('says nothing of work that is over at once', () => {
    const stream = sink();
    const bar = new ProgressBar({ stream, colors });
    bar.update({ phase: 'building', done: 5, total: 5, unit: 'tokens' });
    expect(stream.text).toBe('');
  });
});

describe('failures', () => {
  it('is 2 and one line for what the user can mend', () => {
    const error = new KnnLMError('INVALID_ARGUMENT', 'two\nlines \x1b[31m');
    expect(describeFailure(error)).toEqual({ exitCode: 2, message: 'two↵lines ␛[31m' });
  });

  it('is 1 for a fault of ours, with the stack on demand', () => {
    const error = new TypeError('x is not a function');
    expect(describeFailure(error)).toMatchObject({ exitCode: 1 });
    expect(describeFailure(error).message).not.toContain('\n');
    expect(describeFailure(error, true).message).toContain('screen.test');
  });

  it('is 130 after a clean stop', () => {
    expect(describeFailure(new KnnLMError('ABORTED', 'stopped'))).toEqual({ exitCode: 130 });
    expect(describeFailure(AbortSignal.abort().reason)).toEqual({ exitCode: 130 });
  });
});
