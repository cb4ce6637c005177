/** Something that is read from the server, with its state. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { asFailure, type Failure, read } from './api';

export interface Loaded<T> {
  value: T | null;
  failure: Failure | null;
  busy: boolean;
  again: () => Promise<void>;
}

/** Reads `path` now and when it changes. What was read stays meanwhile. */
export function useLoaded<T>(path: string, everyMs = 0): Loaded<T> {
  const [state, setState] = useState<{ value: T | null; failure: Failure | null; busy: boolean }>({
    value: null,
    failure: null,
    busy: true,
  });
  const wanted = useRef(path);
  wanted.current = path;
  const again = useCallback(async () => {
    setState((old) => ({ ...old, busy: true }));
    const outcome = await read<T>(path).then(
      (value) => ({ value, failure: null }),
      (error: unknown) => ({ failure: asFailure(error) }),
    );
    // An answer that comes late is not shown in place of another question's.
    if (wanted.current === path) setState((old) => ({ ...old, ...outcome, busy: false }));
  }, [path]);
  useEffect(() => {
    void again();
    if (everyMs === 0) return;
    const timer = setInterval(() => void again(), everyMs);
    return () => clearInterval(timer);
  }, [again, everyMs]);
  return { ...state, again };
}
