/** What a pass is worth: nothing is called verified before the root is known to be Intel's. */
import type { Status } from './api';

export interface Standing {
  tone: 'good' | 'amber';
  icon: 'verification' | 'warning';
  word: string;
}

export function standing(status: Status | null): Standing {
  switch (status?.trust.root) {
    case 'intel':
      return { tone: 'good', icon: 'verification', word: 'Verified' };
    case 'development':
      return { tone: 'amber', icon: 'warning', word: 'Simulated' };
    default:
      return { tone: 'amber', icon: 'warning', word: 'Root not known yet' };
  }
}
