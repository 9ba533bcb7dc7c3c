/** One HTML page that can be read, printed and kept without the program: pictures inline, no script, no file beside it. */
import type { ExperimentReport } from './run-experiments.ts';
import type { Claim, ExperimentResult, ResultRow, SkippedExperiment } from './types.ts';

/** @param pictures name of a chart → SVG source */
export function reportPage(
  report: ExperimentReport,
  pictures: ReadonlyMap<string, string>,
): string {
  const done = report.experiments.filter((x): x is ExperimentResult => !('skipped' in x));
  const skipped = report.experiments.filter((x): x is SkippedExperiment => 'skipped' in x);
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">',
    `<title>kNN-LM: findings with ${escapeHtml(report.model)}</title><style>${STYLE}</style></head>`,
    '<body><main>',
    '<h1>What kNN-LM’s findings look like here</h1>',
    `<p class="lead">The experiments of Khandelwal et al., <cite>Generalization through Memorization</cite> (ICLR 2020), run with <b>${escapeHtml(report.model)}</b>. ` +
      `A statement counts as shown only when the whole 95% interval agrees with it.</p>`,
    findingsTable(done),
    ...done.map((result) => section(result, pictures)),
    ...skipped.map(
      ({ name, title, skipped: why }) =>
        `<section id="${name}"><h2>${escapeHtml(title)}</h2><p class="skipped">Not run. ${escapeHtml(why)}</p></section>`,
    ),
    '<h2>How it was measured</h2>',
    `<p>Perplexity per token of the model’s own vocabulary. k, λ and T were chosen on one half of the held-out documents and ` +
      `measured on the other, at most ${report.maxTokens.toLocaleString('en-US')} tokens each. Intervals: 95% bootstrap, windows of text resampled, in pairs ` +
      `where two distributions are compared; they say nothing about other documents. Search is exact unless said otherwise.</p>`,
    `<pre>${escapeHtml(report.command)}</pre>`,
    `<p class="quiet">knnlm ${escapeHtml(report.version)} · ${escapeHtml(report.machine)} · ${duration(done)} · the numbers are in results.json</p>`,
    '</main></body></html>\n',
  ].join('\n');
}

function findingsTable(results: readonly ExperimentResult[]): string {
  const rows = results.flatMap(({ name, paper, claims }) =>
    claims.map(
      ({ statement, verdict, measured }) =>
        `<tr><td><a href="#${name}">${escapeHtml(statement)}</a> <span class="quiet">${escapeHtml(paper.where)}</span></td>` +
        `<td>${badge(verdict)}</td><td class="number">${escapeHtml(measured)}</td></tr>`,
    ),
  );
  return `<div class="wide"><table class="findings"><thead><tr><th>The paper says</th><th>Here</th><th>Measured</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

function section(result: ExperimentResult, pictures: ReadonlyMap<string, string>): string {
  const { name, title, question, setup, paper, rows, claims, charts } = result;
  return [
    `<section id="${name}"><h2>${escapeHtml(title)}</h2>`,
    `<p class="lead">${escapeHtml(question)}</p>`,
    ...claims.map(claimText),
    ...charts.map(
      (chart) =>
        `<figure><figcaption>${escapeHtml(chart.title)} <span class="quiet">${BARS}</span></figcaption><div class="wide">${pictures.get(chart.name)}</div></figure>`,
    ),
    `<div class="pair"><div class="wide"><h3>Measured here</h3>${resultTable(rows)}</div>`,
    `<div class="wide"><h3>In the paper: ${escapeHtml(paper.where)}</h3>${paperTable(paper.rows)}<p class="quiet">${escapeHtml(paper.setting)}</p></div></div>`,
    `<p class="quiet">${escapeHtml(setup)}</p></section>`,
  ].join('\n');
}

function claimText({ statement, verdict, measured, why }: Claim): string {
  const reason = why ? `<br>${escapeHtml(why)}` : '';
  return `<p class="claim">${badge(verdict)} <b>${escapeHtml(statement)}</b><br><span class="number">${escapeHtml(measured)}</span>${reason}</p>`;
}

function resultTable(rows: readonly ResultRow[]): string {
  const lines = rows.map(({ name, perplexity, interval: [low, high], k, lambda, temperature }) => {
    const settings =
      k === undefined
        ? ''
        : `k ${k}, λ ${lambda!.toFixed(2)}, T ${Number(temperature!.toPrecision(3))}`;
    return (
      `<tr><td>${escapeHtml(name)}</td><td class="number">${perplexity.toFixed(2)}</td>` +
      `<td class="number quiet">${low.toFixed(2)}–${high.toFixed(2)}</td><td class="quiet">${settings}</td></tr>`
    );
  });
  return `<table><thead><tr><th></th><th>perplexity</th><th>95%</th><th>settings</th></tr></thead><tbody>${lines.join('')}</tbody></table>`;
}

function paperTable(rows: readonly (readonly [string, string])[]): string {
  const lines = rows.map(
    ([name, value]) =>
      `<tr><td>${escapeHtml(name)}</td><td class="number">${escapeHtml(value)}</td></tr>`,
  );
  return `<table><tbody>${lines.join('')}</tbody></table>`;
}

function badge(verdict: Claim['verdict']): string {
  return `<span class="badge ${verdict.replace(' ', '-')}">${verdict}</span>`;
}

function duration(results: readonly ExperimentResult[]): string {
  const seconds = results.reduce((sum, result) => sum + result.seconds, 0);
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}

const BARS =
  'Bars: 95% interval of the text as a whole. Differences are taken in pairs and are surer than the bars suggest.';

const STYLE = `
:root{color-scheme:light dark;--ink:#24292f;--quiet:#57606a;--paper:#fff;--line:#d0d7de;--soft:#f6f8fa;--link:#0b62c4;--good:#116329;--goodbg:#dafbe1;--bad:#a40e26;--badbg:#ffebe9;--open:#7d4e00;--openbg:#fff8c5}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--quiet:#9aa4af;--paper:#0d1117;--line:#30363d;--soft:#161b22;--link:#6cb0ff;--good:#7ee787;--goodbg:#12261e;--bad:#ffa198;--badbg:#31171b;--open:#e3b341;--openbg:#272115}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.35rem;margin:0 0 .25rem}
h3{font-size:.95rem;margin:0 0 .25rem;font-weight:600}
section{border-top:1px solid var(--line);padding-top:1.75rem;margin-top:2.25rem}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
.lead{font-size:1.05rem;margin:.25rem 0 1rem}
.quiet{color:var(--quiet);font-size:.88rem;font-weight:400}
.wide{overflow-x:auto;min-width:0}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th{text-align:left;font-weight:600;color:var(--quiet);font-size:.82rem}
td,th{padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
.number{font-variant-numeric:tabular-nums}
.pair .number{white-space:nowrap}
.pair{display:grid;grid-template-columns:minmax(0,1.7fr) minmax(0,1fr);gap:2rem;margin:1rem 0}
.claim{background:var(--soft);border:1px solid var(--line);border-radius:8px;padding:.7rem .9rem;margin:.6rem 0;font-size:.95rem}
.badge{display:inline-block;border-radius:999px;padding:.05rem .6rem;font-size:.8rem;font-weight:600;white-space:nowrap}
.shown{color:var(--good);background:var(--goodbg)}.opposite{color:var(--bad);background:var(--badbg)}.not-shown{color:var(--open);background:var(--openbg)}
figure{margin:1.25rem 0}figcaption{font-weight:600;margin-bottom:.4rem}
figure svg{display:block;max-width:100%;height:auto}
pre{background:var(--soft);border:1px solid var(--line);border-radius:8px;padding:.7rem .9rem;overflow-x:auto;font-size:.88rem}
@media (max-width:720px){.findings thead{display:none}.findings tr{display:block;border-bottom:1px solid var(--line);padding:.5rem 0}.findings td{display:inline-block;border:0;padding:0 .5rem 0 0}.findings td:first-child{display:block}.pair{grid-template-columns:minmax(0,1fr);gap:1rem}figure svg{min-width:34rem}main{padding-top:1.5rem}}
@media print{:root{color-scheme:light}main{max-width:none;padding:0}section{break-inside:avoid-page}.wide{overflow:visible}a{color:inherit}}
`;
