/** Amounts, times and ids for people. */
import type { Token, Units } from './api';

/** Whole tokens with as many decimals as are needed, at least two; exact. */
export function amount(units: Units | bigint, decimals: number): string {
  const digits = BigInt(units)
    .toString()
    .padStart(decimals + 1, '0');
  if (decimals === 0) return grouped(digits);
  const whole = digits.slice(0, -decimals);
  const fraction = digits.slice(-decimals).replace(/0+$/, '').padEnd(2, '0');
  return `${grouped(whole)}.${fraction}`;
}

const grouped = (whole: string) => whole.replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f');

export function money(units: Units | bigint, token: Token): string {
  return `${amount(units, token.decimals)} ${token.symbol}`;
}

export function total(units: Units[]): bigint {
  return units.reduce((sum, one) => sum + BigInt(one), 0n);
}

/** `0x12345678…abcd` */
export function short(id: string): string {
  return id.length > 20 ? `${id.slice(0, 10)}…${id.slice(-4)}` : id;
}

/** `1 d 3 h`, `47 min`, `30 s`. */
export function duration(seconds: number): string {
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60,
  ];
  if (days > 0) return hours > 0 ? `${days} d ${hours} h` : `${days} d`;
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`;
  return minutes > 0 ? `${minutes} min` : `${Math.max(0, Math.floor(seconds))} s`;
}

export function ago(unixSeconds: number): string {
  const seconds = Date.now() / 1000 - unixSeconds;
  return seconds < 5 ? 'just now' : `${duration(seconds)} ago`;
}

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const dayName = new Intl.DateTimeFormat(undefined, {
  day: 'numeric',
  month: 'short',
  timeZone: 'UTC',
});

export const when = (unixSeconds: number) => moment.format(unixSeconds * 1000);
export const whenText = (rfc3339: string) => moment.format(Date.parse(rfc3339));
export const day = (unixSeconds: number) => dayName.format(unixSeconds * 1000);

/** Hands the browser a file. */
export function download(name: string, type: string, content: string): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
