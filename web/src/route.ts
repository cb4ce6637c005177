/** The view is in the address: `#/receipts`, `#/verification/0x…`. */
import { useLayoutEffect, useState } from 'preact/hooks';

export const VIEWS = ['chat', 'verification', 'pods', 'balance', 'receipts'] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  view: View;
  id: string | null;
}

function current(): Route {
  const [view, id] = location.hash.replace(/^#\/?/, '').split('/');
  const known = VIEWS.find((name) => name === view);
  return { view: known ?? 'chat', id: id ? decodeURIComponent(id) : null };
}

export const link = (view: View, id?: string) =>
  `#/${view}${id ? `/${encodeURIComponent(id)}` : ''}`;

export function useRoute(): Route {
  const [route, setRoute] = useState(current);
  // In the same turn as the first look: an address that changes in between is not missed.
  useLayoutEffect(() => {
    const changed = () => setRoute(current());
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return route;
}
