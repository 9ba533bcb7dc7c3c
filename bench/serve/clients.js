/** Streaming clients of a completion server, and what they saw. */
import { Agent, request } from 'node:http';
import { readDocuments } from '../../dist/index.js';
import { percentile, round } from '../common.js';

/**
 * So many clients at once, each with one stream after another until the time is up; streams under way are finished.
 * @param body the request of a client's n-th stream
 * @returns tokens a second over all, and milliseconds to the first token and between tokens
 */
export async function stream({ url, clients, seconds, body }) {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const seen = { tokens: 0, streams: 0, errors: [], firsts: [], gaps: [] };
  const started = performance.now();
  const until = started + 1000 * seconds;
  const loop = async (client) => {
    for (let n = 0; performance.now() < until; n++) {
      try {
        await streamOne(`${url}/v1/completions`, agent, body(client, n), seen);
        seen.streams++;
      } catch (error) {
        seen.errors.push(error.message);
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, client) => loop(client)));
  const elapsed = (performance.now() - started) / 1000;
  agent.destroy();
  const { tokens, streams, errors, firsts, gaps } = seen;
  const at = (values, share) => (values.length > 0 ? round(percentile(values, share), 1) : null);
  return {
    clients,
    tokens,
    tokensPerSecond: round(tokens / elapsed, 1),
    streams,
    errors: errors.length,
    ...(errors.length > 0 && { error: errors[0] }),
    firstTokenMs: { p50: at(firsts, 0.5), p99: at(firsts, 0.99) },
    gapMs: { p50: at(gaps, 0.5), p99: at(gaps, 0.99), max: at(gaps, 1) },
  };
}

function streamOne(url, agent, body, seen) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    let last;
    let rest = '';
    const sent = JSON.stringify({ ...body, stream: true });
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(sent),
    };
    const asking = request(url, { method: 'POST', agent, headers }, (response) => {
      response.setEncoding('utf8');
      response.on('error', reject);
      response.on('data', (part) => {
        const now = performance.now();
        const events = (rest + part).split('\n\n');
        rest = events.pop();
        for (const event of events) {
          if (response.statusCode !== 200 || event.startsWith('data: {"error"'))
            return reject(new Error(event));
          // Of a token; the last event only says why it ended.
          if (!event.includes('"finish_reason":null')) continue;
          if (last === undefined) seen.firsts.push(now - started);
          else seen.gaps.push(now - last);
          last = now;
          seen.tokens++;
        }
      });
      response.on('end', () => (response.statusCode === 200 ? resolve() : reject(new Error(rest))));
    });
    asking.on('error', reject);
    asking.end(sent);
  });
}

/** Prompts: of so many documents the first 100 to 600 characters. */
export async function beginnings(file, count) {
  const found = [];
  for await (const document of readDocuments([file])) {
    if (document.text.length < 600) continue;
    found.push(document.text.slice(0, 100 + ((found.length * 97) % 500)));
    if (found.length === count) break;
  }
  return found;
}
