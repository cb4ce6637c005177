// A reporter of `node --test`: one JSON object a line, as the Python suites write it.
import path from 'node:path';

export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    // Some versions also report each file as a test.
    if (data.name.endsWith('.mjs')) continue;
    const skipped = data.skip !== undefined;
    const outcome = skipped ? 'skipped' : type === 'test:pass' ? 'passed' : 'failed';
    const error = data.details?.error;
    const why = skipped ? String(data.skip) : String(error?.cause?.stack ?? error ?? '');
    const id = `${path.basename(data.file ?? '')}::${data.name}`;
    yield JSON.stringify({ id, outcome, why }) + '\n';
  }
}
