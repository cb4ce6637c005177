/** Before anything is typed: whether the pod that would be asked proves what it has to prove. */
import { useEffect, useState } from 'preact/hooks';
import { asFailure, send, type Status, type Verified } from '../api';
import { Icon, type IconName } from '../parts/icon';
import { link } from '../route';

type State = 'waiting' | 'good' | 'bad';

export function PodBadge({ pod, status }: { pod: string; status: Status | null }) {
  const [state, setState] = useState<State>('waiting');
  const [says, setSays] = useState('Verifying');
  useEffect(() => {
    const judged = ({ audit }: Verified) => {
      setState(audit.verdict.accepted ? 'good' : 'bad');
      setSays(audit.verdict.accepted ? 'Verified' : `Refused: ${audit.verdict.refused_by}`);
    };
    send<Verified>('verify', { pod }).then(judged, (error: unknown) => {
      setState('bad');
      setSays(asFailure(error).code === 'offline' ? 'Not reached' : 'Not verified');
    });
  }, [pod]);
  const simulated = state === 'good' && status?.trust.root === 'development';
  const icon: IconName =
    state === 'waiting' ? 'clock' : state === 'bad' || simulated ? 'warning' : 'verification';
  return (
    <a
      class={`button shield pod-badge ${simulated ? 'amber' : state}`}
      href={link('verification', pod)}
      aria-live="polite"
    >
      <Icon name={icon} size={16} />
      <span aria-hidden="true">{simulated ? 'Simulated' : says}</span>
      <span class="hidden">{simulated ? 'Simulated' : says}: every check of the cheapest pod</span>
    </a>
  );
}
