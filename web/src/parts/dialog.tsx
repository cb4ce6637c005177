import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';
import { Icon } from './icon';

/** A modal dialog: the browser keeps the focus in it, Escape closes it, the focus returns. */
export function Dialog(props: {
  title: string;
  onClose: () => void;
  wide?: boolean;
  children: ComponentChildren;
}) {
  const box = useRef<HTMLDialogElement>(null);
  const title = useId();
  useEffect(() => {
    const before = document.activeElement;
    box.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  const outside = (event: MouseEvent) => {
    if (event.target === box.current) props.onClose();
  };
  return (
    <dialog
      ref={box}
      class={props.wide ? 'wide' : ''}
      aria-labelledby={title}
      onClose={props.onClose}
      onMouseDown={outside}
    >
      <div class="dialog-body">
        <header>
          <h2 id={title}>{props.title}</h2>
          <button type="button" class="icon-button" onClick={props.onClose} aria-label="Close">
            <Icon name="cross" />
          </button>
        </header>
        {props.children}
      </div>
    </dialog>
  );
}
