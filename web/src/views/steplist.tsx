import { Command, Value } from '../parts/copy';
import { Icon, type IconName } from '../parts/icon';
import type { Step, StepState } from './steps';

const WORDS: Record<StepState, string> = {
  passed: 'passed',
  failed: 'failed',
  partly: 'passed in part',
  skipped: 'not reached',
  pending: 'checking',
};
const ICONS: Record<StepState, IconName> = {
  passed: 'check',
  failed: 'cross',
  partly: 'skip',
  skipped: 'skip',
  pending: 'clock',
};
const MARKS = { pass: 'check', fail: 'cross', skip: 'skip' } as const;
const CHECK_WORDS = { pass: 'passed', fail: 'failed', skip: 'skipped' } as const;

/** The steps in one column; `open` shows what is behind each. */
export function StepList({ steps, details = false }: { steps: Step[]; details?: boolean }) {
  return (
    <ol class={`steps ${details ? 'full' : 'brief'}`}>
      {steps.map((step) => (
        <li key={step.id} class={`step ${step.state}`} data-step={step.id}>
          <span class="step-mark">
            {step.state === 'pending' ? (
              <span class="spinner" aria-hidden="true" />
            ) : (
              <Icon name={ICONS[step.state]} size={16} />
            )}
          </span>
          {details && step.state !== 'pending' ? (
            <details open={step.state === 'failed'}>
              <summary>
                <Head step={step} details={details} />
              </summary>
              <Behind step={step} />
            </details>
          ) : (
            <div class="step-head">
              <Head step={step} details={details} />
            </div>
          )}
        </li>
      ))}
    </ol>
  );
}

function Head({ step, details }: { step: Step; details: boolean }) {
  return (
    <>
      {details ? (
        <h2 class="step-title">{step.title}</h2>
      ) : (
        <span class="step-title">{step.title}</span>
      )}
      <span class={`state ${step.state}`}>{WORDS[step.state]}</span>
      <span class="step-asks">{step.asks}</span>
    </>
  );
}

function Behind({ step }: { step: Step }) {
  return (
    <div class="behind">
      <ul class="checks">
        {step.checks.map((check) => (
          <li key={check.name} class={check.state}>
            <Icon name={MARKS[check.state]} size={16} />
            <div>
              <p>
                <code>{check.name}</code>
                <span class="hidden"> {CHECK_WORDS[check.state]},</span>
                <span class="quiet">
                  {' '}
                  {check.state === 'skip' ? 'skipped, ' : ''}vouched for by {check.vouched_by}
                </span>
              </p>
              <p class="detail">{check.detail}</p>
            </div>
          </li>
        ))}
      </ul>
      {step.values.length > 0 && (
        <>
          <h3>Raw values</h3>
          <dl class="values">
            {step.values.map(([label, text]) => (
              <Value key={label} label={label} text={text} />
            ))}
          </dl>
        </>
      )}
      <h3>How to reproduce</h3>
      {step.commands.map((command) => (
        <Command key={command} text={command} />
      ))}
    </div>
  );
}
