/** Before anything is typed: whether the cheapest pod of the model proves what it has to prove. */
import { useEffect, useState } from 'preact/hooks';
import { asFailure, send, type Status, type Verified } from '../api';
import { Icon, type IconName } from '../parts/icon';
import { link } from '../route';
import { standing } from '../standing';

type State = 'waiting' | 'good' | 'bad';

function shown(state: State, says: string, status: Status | null) {
  if (state === 'good') return standing(status);
  const icon: IconName = state === 'waiting' ? 'clock' : 'warning';
  return { tone: state, icon, word: says };
}

export function PodBadge({ pod, status }: { pod: string; status: Status | null }) {
  const [state, setState] = useState<State>('waiting');
  const [says, setSays] = useState('Verifying');
  useEffect(() => {
    const judged = ({ audit }: Verified) => {
      setState(audit.verdict.accepted ? 'good' : 'bad');
      if (!audit.verdict.accepted) setSays(`Refused: ${audit.verdict.refused_by}`);
    };
    send<Verified>('verify', { pod }).then(judged, (error: unknown) => {
      setState('bad');
      setSays(asFailure(error).code === 'offline' ? 'Not reached' : 'Not verified');
    });
  }, [pod]);
  const { tone, icon, word } = shown(state, says, status);
  return (
    <a
      class={`button shield pod-badge ${tone}`}
      href={link('verification', pod)}
      aria-live="polite"
    >
      <Icon name={icon} size={16} />
      <span aria-hidden="true">{word}</span>
      <span class="hidden">{word}: every check of the cheapest pod</span>
    </a>
  );
}
