import { useEffect, useState } from 'preact/hooks';
import { Icon } from './icon';

/** Copies a text and says so. */
export function Copy({ text, what }: { text: string; what: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
  };
  return (
    <button
      type="button"
      class="icon-button"
      onClick={() => void copy()}
      aria-label={`Copy ${what}`}
      title={`Copy ${what}`}
    >
      <Icon name={copied ? 'check' : 'copy'} size={16} />
      <span class="hidden" role="status">
        {copied ? 'Copied' : ''}
      </span>
    </button>
  );
}

/** A command to type, with a button that copies it. */
export function Command({ text }: { text: string }) {
  return (
    <div class="command">
      <code>{text}</code>
      <Copy text={text} what="the command" />
    </div>
  );
}

/** A long value in one line that can be copied whole. */
export function Value({ label, text }: { label: string; text: string }) {
  return (
    <div class="value">
      <dt>{label}</dt>
      <dd>
        <code title={text}>{text}</code>
        <Copy text={text} what={label} />
      </dd>
    </div>
  );
}
