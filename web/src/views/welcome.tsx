import type { Status } from '../api';
import { Mark } from '../parts/icon';

const SUGGESTIONS = [
  'Explain what a trusted execution environment is, in three sentences.',
  'Write a short, polite email that declines an invitation.',
  'What should I ask before I trust a remote machine with my data?',
];

const SEALED = {
  intel:
    'Your question is sealed to an enclave that this machine has verified. The pod’s operator sees ciphertext.',
  development:
    'Your question is sealed to an enclave that this machine has verified, but the hardware is simulated: here the operator can read it.',
};

/** Before the first question. */
export function Welcome({
  root,
  onAsk,
}: {
  root: Status['trust']['root'] | null;
  onAsk: (text: string) => void;
}) {
  return (
    <div class="welcome">
      <Mark size={56} />
      <h2>Ask in private.</h2>
      <p>
        {root && SEALED[root]} You get a signed receipt. Conversations stay in this tab and are gone
        when you close it.
      </p>
      <ul class="suggestions">
        {SUGGESTIONS.map((text) => (
          <li key={text}>
            <button type="button" onClick={() => onAsk(text)}>
              {text}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The chain lists none. */
export function NoModel() {
  return (
    <div class="welcome">
      <Mark size={56} />
      <h2>No pod offers a model yet.</h2>
      <p>
        Pods are listed on chain. When one with a valid key is registered, its models appear here.
        See <a href="#/pods">Pods</a>.
      </p>
    </div>
  );
}
