/** Something that is read from the server, with its state. */
import { useCallback, useEffect, useState } from 'preact/hooks';
import { asFailure, type Failure, read } from './api';

export interface Loaded<T> {
  value: T | null;
  failure: Failure | null;
  busy: boolean;
  again: () => Promise<void>;
}

/** Reads `path` now and when it changes; `null` waits. What was read stays meanwhile. */
export function useLoaded<T>(path: string | null, everyMs = 0): Loaded<T> {
  const [state, setState] = useState<{ value: T | null; failure: Failure | null; busy: boolean }>({
    value: null,
    failure: null,
    busy: path !== null,
  });
  const again = useCallback(async () => {
    if (path === null) return;
    setState((old) => ({ ...old, busy: true }));
    try {
      const value = await read<T>(path);
      setState({ value, failure: null, busy: false });
    } catch (error) {
      setState((old) => ({ ...old, failure: asFailure(error), busy: false }));
    }
  }, [path]);
  useEffect(() => {
    void again();
    if (everyMs === 0) return;
    const timer = setInterval(() => void again(), everyMs);
    return () => clearInterval(timer);
  }, [again, everyMs]);
  return { ...state, again };
}
