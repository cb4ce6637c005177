/** The checks of a verdict in six steps that people can follow, with raw values and commands. */
import type { Audit, Check } from '../api';

export type StepState = 'passed' | 'failed' | 'partly' | 'skipped' | 'pending';

export interface Step {
  id: string;
  title: string;
  asks: string;
  state: StepState;
  checks: Check[];
  values: [label: string, text: string][];
  commands: string[];
}

interface Plan {
  id: string;
  title: string;
  asks: string;
  checks: string[];
  values: (audit: Audit) => [string, string | number | null | undefined][];
  commands: (pod: string, audit: Audit | null) => string[];
}

const quoteOf = (audit: Audit) =>
  typeof audit.dossier.evidence === 'string'
    ? audit.dossier.evidence
    : audit.dossier.evidence.quote;
function tcbInfoOf(audit: Audit): { issueDate?: string; nextUpdate?: string; fmspc?: string } {
  const evidence = audit.dossier.evidence;
  const text = typeof evidence === 'string' ? undefined : evidence.collateral?.tcb_info;
  try {
    return JSON.parse(text ?? '{}') as object;
  } catch {
    return {};
  }
}

const modelsOf = (audit: Audit): [string, string][] =>
  audit.dossier.record.offers.map((offer) => [`SHA-256 of ${offer.model}`, offer.weights_sha256]);
const keep = (pod: string) => [
  `phallama audit pod ${pod} --save pod.json`,
  'phallama audit pod --from pod.json',
];

const PLAN: Plan[] = [
  {
    id: 'chain',
    title: 'Chain record',
    asks: 'Is the pod registered, on the machine it says, under the root that you trust?',
    checks: ['chain-root', 'chain-record', 'machine-identity'],
    values: ({ dossier: { deployment, record } }) => [
      ['registry', deployment.registry],
      ['pod', record.pod_id],
      ['identity key', record.key?.identity],
      ['root certificate, SHA-256', deployment.root_certificate_sha256],
    ],
    commands: () => ['phallama --json pods'],
  },
  {
    id: 'quote',
    title: 'Quote signature',
    asks: 'Did the hardware sign this quote, with certificates that lead to the root?',
    checks: [
      'evidence-format',
      'evidence-pinned',
      'exact-length',
      'quote-type',
      'own-certificates',
      'certificate-chain',
      'quote-signature',
      'debug-off',
    ],
    values: (audit) => [
      ['quote', quoteOf(audit)],
      ['evidence digest', audit.dossier.record.key?.evidence],
    ],
    commands: keep,
  },
  {
    id: 'tcb',
    title: 'TCB and collateral',
    asks: 'Is the platform’s patch level good, by signed data that is fresh and not revoked?',
    checks: [
      'collateral-fresh',
      'revocation',
      'collateral-signature',
      'qe-identity',
      'tcb-status',
      'tcb-evaluation-number',
      'on-chain-quote-verification',
      'chain-tcb-status',
    ],
    values: (audit) => [
      ['TCB status on chain', audit.dossier.record.key?.tcb_status],
      ['TCB evaluation number', audit.dossier.record.key?.evaluation_number],
      ['TCB info issued', tcbInfoOf(audit).issueDate],
      ['TCB info due again', tcbInfoOf(audit).nextUpdate],
      ['platform family (FMSPC)', tcbInfoOf(audit).fmspc],
      ['verifier contract', audit.dossier.deployment.verifier],
    ],
    commands: (pod, audit) => [
      keep(pod)[0] ?? '',
      `phallama audit pod --from pod.json${audit ? ` --at ${audit.verdict.at_unix_s}` : ''}`,
    ],
  },
  {
    id: 'measurement',
    title: 'Measurement approved',
    asks: 'Does it run exactly a program that you approved, under the limits you approved?',
    checks: ['measurement', 'policy', 'quoted-measurement'],
    values: (audit) => [
      ['measurement', audit.dossier.record.key?.measurement],
      ['approved as', audit.verdict.approved_as],
      ['policy digest', audit.verdict.binding?.['policy_digest']],
    ],
    commands: () => ['phallama-enclave --print-measurement', 'phallama trust list'],
  },
  {
    id: 'key',
    title: 'Key bound to this channel',
    asks: 'Is the key that requests are sealed to the enclave’s own, and in its window?',
    checks: ['report-data', 'bundle-signature', 'bundle-matches-chain', 'bundle-window'],
    values: (audit) => [
      ['report data', audit.verdict.binding?.['report_data']],
      ['identity key', audit.verdict.binding?.['identity']],
      ['signed key bundle', audit.dossier.bundle],
    ],
    commands: (pod) => [`phallama --json audit pod ${pod}`],
  },
  {
    id: 'model',
    title: 'Model digest',
    asks: 'Are the weights the ones that were offered?',
    checks: ['model-set'],
    values: (audit) => [
      ...modelsOf(audit),
      ['model set root', audit.verdict.binding?.['model_set_root']],
    ],
    commands: () => ['sha256sum MODEL.gguf'],
  },
];

function stateOf(checks: Check[]): StepState {
  if (checks.some((check) => check.state === 'fail')) return 'failed';
  const passed = checks.filter((check) => check.state === 'pass').length;
  if (passed === 0) return 'skipped';
  return passed === checks.length ? 'passed' : 'partly';
}

/** The steps of a verdict; checks that this page does not know stand in a step of their own. */
export function stepsOf(audit: Audit): Step[] {
  const checks = audit.verdict.checks;
  const pod = audit.dossier.record.pod_id;
  const steps = PLAN.map((plan): Step => {
    const own = checks.filter((check) => plan.checks.includes(check.name));
    const values = plan
      .values(audit)
      .filter(([, value]) => value !== null && value !== undefined && value !== '');
    return {
      ...plan,
      state: stateOf(own),
      checks: own,
      values: values.map(([label, value]) => [label, String(value)]),
      commands: plan.commands(pod, audit),
    };
  });
  const known = new Set(PLAN.flatMap((plan) => plan.checks));
  const others = checks.filter((check) => !known.has(check.name));
  if (others.length > 0) {
    const more = {
      id: 'others',
      title: 'Other checks',
      asks: 'What else was looked at?',
      values: [],
      commands: keep(pod),
    };
    steps.push({ ...more, state: stateOf(others), checks: others } as Step);
  }
  return steps;
}

/** The same before there is a verdict. */
export function pendingSteps(): Step[] {
  const nothing = { state: 'pending' as const, checks: [], values: [], commands: [] };
  return PLAN.map(({ id, title, asks }) => ({ id, title, asks, ...nothing }));
}
