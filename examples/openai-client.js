/**
 * Asks `knnlm serve` with OpenAI's own client, which passes what it does not know: the field `knn` goes there and comes back.
 *
 *     npm run build && node dist/cli/main.js serve notes.knn &
 *     node examples/openai-client.js http://localhost:8080/v1 "The kidneys"
 *
 * In a project of your own: npm install openai
 */
import OpenAI from 'openai';

const [baseURL = 'http://localhost:8080/v1', prompt = 'The kidneys'] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: process.env.KNNLM_API_KEY ?? 'none' });

const { data } = await client.models.list();
const stream = await client.completions.create({
  model: data[0].id,
  prompt,
  max_tokens: 24,
  temperature: 0,
  stream: true,
  knn: { include_neighbors: 1 },
});
for await (const { choices } of stream) {
  for (const { text, p, p_lm, neighbors } of choices[0].knn.tokens) {
    const source = neighbors[0] ? `${neighbors[0].document} at ${neighbors[0].position}` : '';
    const figures = [p, p_lm].map((x) => x.toFixed(3)).join('  ');
    console.log(`${JSON.stringify(text).padEnd(16)} ${figures}  ${source}`);
  }
}
