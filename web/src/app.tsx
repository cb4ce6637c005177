/** The frame around the views: navigation, what is wrong in general, theme. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { type Failure, type Status, wantsToken } from './api';
import { useLoaded } from './load';
import { Icon, type IconName, Mark } from './parts/icon';
import { Message } from './parts/notice';
import { TokenForm } from './parts/token';
import { link, useRoute, type View, VIEWS } from './route';
import { BalanceView } from './views/balance';
import { ChatView } from './views/chat';
import { PodsView } from './views/pods';
import { ReceiptsView } from './views/receipts';
import { VerificationView } from './views/verification';

const STATUS_EVERY_MS = 10_000;
const NAMES: Record<View, string> = {
  chat: 'Chat',
  verification: 'Verification',
  pods: 'Pods',
  balance: 'Balance',
  receipts: 'Receipts',
};

export function App() {
  const route = useRoute();
  const status = useLoaded<Status>('status', STATUS_EVERY_MS);
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    document.title = `${NAMES[route.view]} · Phallama`;
    // Somebody who does not see the page change is brought to its beginning.
    if (!first.current) main.current?.focus();
    first.current = false;
  }, [route.view]);
  return (
    <div class="frame">
      <a
        class="skip-link"
        href="#main"
        onClick={(event) => (event.preventDefault(), main.current?.focus())}
      >
        Skip to content
      </a>
      <Side view={route.view} status={status.value} />
      <div class="stage">
        <Alarms status={status.value} failure={status.failure} retry={() => void status.again()} />
        <main id="main" ref={main} tabIndex={-1}>
          {/* A conversation stays while somebody looks elsewhere. */}
          <div class="view" hidden={route.view !== 'chat'}>
            <ChatView status={status.value} />
          </div>
          {route.view === 'verification' && (
            <VerificationView pod={route.id} status={status.value} />
          )}
          {route.view === 'pods' && <PodsView status={status.value} />}
          {route.view === 'balance' && <BalanceView status={status.value} />}
          {route.view === 'receipts' && <ReceiptsView id={route.id} status={status.value} />}
        </main>
      </div>
    </div>
  );
}

function Side({ view, status }: { view: View; status: Status | null }) {
  return (
    <header class="side">
      <a class="brand" href={link('chat')} aria-label="Phallama, to the chat">
        <Mark /> <span>Phallama</span>
      </a>
      <nav aria-label="Views">
        <ul>
          {VIEWS.map((name) => (
            <li key={name}>
              <a href={link(name)} aria-current={name === view ? 'page' : undefined}>
                <Icon name={name as IconName} />
                <span>{NAMES[name]}</span>
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <div class="side-foot">
        {status && (
          <p class="facts">
            <span class={`dot ${status.chain.fault ? 'bad' : 'good'}`} aria-hidden="true" />
            {status.chain.fault
              ? 'Chain unreachable'
              : `Chain ${status.chain.chain_id}, block ${status.chain.block}`}
          </p>
        )}
        <Theme />
      </div>
    </header>
  );
}

function Alarms({
  status,
  failure,
  retry,
}: {
  status: Status | null;
  failure: Failure | null;
  retry: () => void;
}) {
  return (
    <aside class="alarms" aria-label="Notices">
      {status?.trust.root === 'development' && (
        <p class="alarm amber">
          <Icon name="warning" />
          <span>
            <strong>Simulated TEE: this protects nothing.</strong> The pods’ operators can read
            every prompt.
          </span>
        </p>
      )}
      {failure?.code === 'page_expired' && (
        <p class="alarm bad" role="alert">
          <Icon name="again" />
          <span>The local server has been started anew.</span>
          <button type="button" class="small" onClick={() => location.reload()}>
            Load the page again
          </button>
        </p>
      )}
      {failure && wantsToken(failure) && <TokenForm failure={failure} />}
      {failure && failure.code !== 'page_expired' && !wantsToken(failure) && (
        <p class="alarm bad" role="alert">
          <Icon name="warning" />
          <span>
            <Message text={failure.message} />
          </span>
          <button type="button" class="small" onClick={retry}>
            Try again
          </button>
        </p>
      )}
      {!failure && status?.chain.fault && (
        <p class="alarm bad" role="alert">
          <Icon name="warning" />
          <span>
            <strong>The chain does not answer.</strong> Receipts can still be read; pods and balance
            cannot. <span class="quiet">{status.chain.fault}</span>
          </span>
        </p>
      )}
    </aside>
  );
}

const THEMES = ['auto', 'light', 'dark'] as const;
type ThemeName = (typeof THEMES)[number];
const THEME_ICONS: Record<ThemeName, IconName> = { auto: 'auto', light: 'sun', dark: 'moon' };
const THEME_WORDS: Record<ThemeName, string> = {
  auto: 'as the system',
  light: 'light',
  dark: 'dark',
};

function Theme() {
  const [theme, setTheme] = useState<ThemeName>(() => {
    const kept = localStorage.getItem('theme');
    return THEMES.find((name) => name === kept) ?? 'auto';
  });
  useEffect(() => {
    if (theme === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    localStorage.setItem('theme', theme);
  }, [theme]);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'auto';
  const label = `Colours: ${THEME_WORDS[theme]}. Change to ${THEME_WORDS[next]}`;
  return (
    <button
      type="button"
      class="icon-button theme"
      onClick={() => setTheme(next)}
      aria-label={label}
      title={label}
    >
      <Icon name={THEME_ICONS[theme]} />
    </button>
  );
}
