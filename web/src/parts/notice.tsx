import type { ComponentChildren } from 'preact';
import { type Failure, wantsToken } from '../api';
import { Icon } from './icon';

/** A failure that somebody can do something about. That a token is wanted is said once, above. */
export function Fault({ failure, retry }: { failure: Failure; retry?: () => void }) {
  if (wantsToken(failure)) return null;
  return (
    <div class="notice bad" role="alert">
      <Icon name="warning" />
      <div>
        <p>
          <Message text={failure.message} />
        </p>
        {retry && (
          <button type="button" class="link" onClick={retry}>
            Try again
          </button>
        )}
      </div>
    </div>
  );
}

/** A sentence of the server's, with its `commands` as such. */
export function Message({ text }: { text: string }) {
  return (
    <>
      {text
        .split('`')
        .map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part))}
    </>
  );
}

/** Nothing here yet, and what would bring something. */
export function Empty({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** Something is being read for the first time. */
export function Waiting({ what }: { what: string }) {
  return (
    <p class="waiting" role="status">
      <span class="spinner" aria-hidden="true" /> {what}
    </p>
  );
}
