/** The local server's own routes (`crates/phallama/src/server/page/`), and what they answer. */

/** A decimal number of smallest units. */
export type Units = string;

export interface Token {
  symbol: string;
  decimals: number;
}

export interface Status {
  version: string;
  now_unix_s: number;
  user: string | null;
  token: Token | null;
  chain: {
    chain_id: number;
    registry: string;
    escrow: string;
    token: string;
    block: number | null;
    fault: string | null;
  };
  trust: {
    root: 'intel' | 'development';
    measurements: { label: string; measurement: string; policy: string | null }[];
  };
  can_send: boolean;
}

export interface Model {
  model: string;
  pods: string[];
  weights_sha256: string;
  input_price_per_mtok: Units;
  output_price_per_mtok: Units;
  context_tokens: number;
  max_output_tokens: number;
}

export interface Offer {
  model: string;
  weights_sha256: string;
  input_price_per_mtok: Units;
  output_price_per_mtok: Units;
  context_tokens: number;
  max_output_tokens: number;
}

export interface PodKey {
  identity: string;
  expiry_unix_s: number;
  tee: 'sgx' | 'tdx';
  tcb_status: string;
  evaluation_number: number;
  measurement: string;
  evidence: string;
}

export interface Pod {
  pod: string;
  url: string;
  operator: string;
  key: PodKey | null;
  retired: boolean;
  offers: Offer[];
}

export interface Check {
  name: string;
  state: 'pass' | 'fail' | 'skip';
  vouched_by: string;
  detail: string;
}

export interface Audit {
  version: number;
  dossier: {
    gathered_at_unix_s: number;
    deployment: {
      chain_id: number;
      registry: string;
      escrow: string;
      verifier: string;
      root_certificate_sha256: string;
    };
    record: { pod_id: string; url: string; offers: Offer[]; key: PodKey | null };
    bundle: string;
    evidence: { quote?: string; collateral?: { tcb_info?: string } } | string;
  };
  verdict: {
    accepted: boolean;
    approved_as: string | null;
    refused_by: string | null;
    at_unix_s: number;
    binding: Record<string, string | number> | null;
    checks: Check[];
  };
}

export interface Verified {
  audit: Audit;
  took_ms: number;
}

export interface Channel {
  pod: string;
  locked: Units;
  claimed: Units;
  epoch: number;
  exit_at_unix_s: number;
  charged: Units;
  voucher_cap: Units;
  unreceipted: Units;
  left: Units;
}

export interface Balance {
  user: string;
  owner: string | null;
  free: Units;
  promised: Units;
  spent_today: Units;
  token: string;
  decimals: number;
  channels: Channel[];
  now_unix_s: number;
  spent_by_day: { day_unix_s: number; cost: Units; answers: number }[];
  disputes: number;
  can_send: boolean;
}

export interface Limits {
  per_request: Units | null;
  per_day: Units | null;
  per_pod: Units | null;
  used_today: Units;
  used_by_pod: { pod: string; used: Units }[];
}

export interface Receipt {
  request: string;
  finished: string;
  pod: string;
  url: string;
  build: string;
  model: string;
  identity: string;
  chain_id: number;
  escrow: string;
  voucher_cap: Units;
  /** `valid`, or what is wrong. */
  signature: string;
  receipt_hex: string;
  prompt_tokens?: number;
  completion_tokens?: number;
  cost?: Units;
  cumulative?: Units;
  measurement?: string;
  evidence_hash?: string;
  receipt_hash?: string;
  stored?: unknown;
}

export interface Receipts {
  receipts: Receipt[];
  found: number;
}

export interface ReceiptCheck {
  checked: number;
  valid: number;
  failed: { request: string; reason: string }[];
}

export type Sent =
  | { sent: true; transactions: string[]; gas_used: number; fee_wei: string }
  | { sent: false; signed: string };

/** A failure with a stable code; `offline` when the local server does not answer at all. */
export class Failure extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly field: string | null = null,
  ) {
    super(message);
  }
}

const offline = () =>
  new Failure('offline', 'The local server does not answer. Is `phallama serve` still running?');

export async function failureOf(response: Response): Promise<Failure> {
  try {
    const { error } = (await response.json()) as {
      error: { code: string; message: string; param?: string | null };
    };
    return new Failure(error.code, error.message, error.param ?? null);
  } catch {
    return new Failure('unknown', `The local server answered with status ${response.status}.`);
  }
}

const TOKEN = 'token';

/** What shows that this page may ask, where the server wants a token: of this tab, until it is closed. */
export function authorization(): Record<string, string> {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { authorization: `Bearer ${token}` } : {};
}

export function keepToken(token: string) {
  sessionStorage.setItem(TOKEN, token);
}

export function hasToken(): boolean {
  return sessionStorage.getItem(TOKEN) !== null;
}

/** Whether another token would help. */
export function wantsToken(failure: Failure | null): boolean {
  return failure?.code === 'token_refused' || failure?.code === 'token_limited';
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = {
    'x-phallama-page': '1',
    ...authorization(),
    ...(init.body ? { 'content-type': 'application/json' } : {}),
  };
  let response: Response;
  try {
    response = await fetch(`/phallama/v1/${path}`, { ...init, headers, cache: 'no-store' });
  } catch {
    throw offline();
  }
  if (!response.ok) throw await failureOf(response);
  return response;
}

export async function read<T>(path: string): Promise<T> {
  return (await (await ask(path)).json()) as T;
}

export async function send<T>(path: string, body: unknown): Promise<T> {
  return (await (await ask(path, { method: 'POST', body: JSON.stringify(body) })).json()) as T;
}

export async function text(path: string): Promise<string> {
  return (await ask(path)).text();
}

export function asFailure(error: unknown): Failure {
  return error instanceof Failure ? error : new Failure('bug', String(error));
}
