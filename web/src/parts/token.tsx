/** Asks for a token, where the local server lets nobody ask without one. */
import { useState } from 'preact/hooks';
import { type Failure, hasToken, keepToken } from '../api';
import { Message } from './notice';

export function TokenForm({ failure }: { failure: Failure }) {
  const [token, setToken] = useState('');
  const submit = (event: Event) => {
    event.preventDefault();
    keepToken(token.trim());
    // Everything is asked anew, by every view.
    location.reload();
  };
  return (
    <form class="alarm amber token" onSubmit={submit}>
      <label for="token">
        <strong>This server asks for a token.</strong>{' '}
        {hasToken() ? (
          <span role="alert">
            <Message text={failure.message} />
          </span>
        ) : (
          <>
            <code>phallama token create browser</code> makes one. It is kept in this tab until you
            close it.
          </>
        )}
      </label>
      <input
        id="token"
        type="password"
        autocomplete="off"
        required
        placeholder="phallama_…"
        value={token}
        onInput={(event) => setToken(event.currentTarget.value)}
      />
      <button type="submit" class="small">
        Use it
      </button>
    </form>
  );
}
