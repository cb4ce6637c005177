/** Line icons on a 24-unit grid; decoration, so hidden from screen readers. */
const PATHS = {
  chat: 'M4 5.5h16v11H9l-5 4z',
  verification:
    'M12 3l7.500 2.800v5.700c0 4.600-3.100 7.900-7.500 9.500-4.400-1.600-7.500-4.900-7.500-9.500V5.800zM8.700 12l2.400 2.400 4.300-4.500',
  pods: 'M4 5h16v5.500H4zM4 13.500h16V19H4zM7.500 7.750h.01M7.500 16.250h.01M11 7.750h5.500M11 16.250h5.500',
  balance:
    'M4 7.500h14.500a1.500 1.500 0 0 1 1.500 1.500v9a1.500 1.500 0 0 1-1.500 1.500H5.500A1.500 1.500 0 0 1 4 18zM4 7.500V6.200a1.500 1.500 0 0 1 1.200-1.500L16 3v4.500M16.300 13.500h.01',
  receipts:
    'M6 3.500h12v17l-2.400-1.600-1.800 1.600-1.800-1.600-1.800 1.600-1.800-1.600L6 20.500zM9 8.500h6M9 12.500h6',
  shield:
    'M12 3l7.500 2.800v5.700c0 4.600-3.100 7.900-7.500 9.500-4.400-1.600-7.500-4.900-7.500-9.500V5.800z',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  check: 'M5 12.500l4.700 4.700L19 7.500',
  cross: 'M6 6l12 12M18 6L6 18',
  skip: 'M6 12h12',
  warning: 'M12 4l9.500 16.500h-19zM12 10v4.500M12 17.500h.01',
  send: 'M12 19V5M6 11l6-6 6 6',
  stop: 'M7 7h10v10H7z',
  plus: 'M12 5v14M5 12h14',
  download: 'M12 4v11M7 10.500l5 5 5-5M5 20h14',
  upload: 'M12 20V9M7 13.500l5-5 5 5M5 4h14',
  again: 'M19.500 12a7.500 7.500 0 1 1-2.200-5.300L20 9.500M20 4.500v5h-5',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.500v2M12 19.500v2M2.500 12h2M19.500 12h2M5.300 5.300l1.400 1.400M17.300 17.300l1.400 1.400M18.700 5.300l-1.400 1.400M6.700 17.300l-1.400 1.400',
  moon: 'M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500z',
  auto: 'M12 3.500a8.500 8.500 0 1 0 0 17zM12 3.500a8.500 8.500 0 0 1 0 17',
  options:
    'M4 7h9M18 7h2M4 17h2M11 17h9M15.500 4.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5zM8.500 14.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5z',
  clock: 'M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17zM12 7.500V12l3 2',
  down: 'M6 9.500l6 6 6-6',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg
      class="icon"
      width={size}
      height={size}
      viewBox="0 0 24 24"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The mark: a llama's head that is a shield. */
export function Mark({ size = 28 }: { size?: number }) {
  return (
    <svg
      class="mark"
      width={size}
      height={size}
      viewBox="0 0 32 32"
      aria-hidden="true"
      focusable="false"
    >
      <path
        class="mark-head"
        d="M9 2.200c1.800-.4 3.400 1.500 3.900 5.200h6.200c.5-3.700 2.100-5.600 3.900-5.200 2 .5 2.400 4.200 1.300 7.700 1 1.600 1.500 3.500 1.500 5.600 0 6.200-4 11.200-9.800 13.900C10.200 26.700 6.200 21.700 6.200 15.500c0-2.100.5-4 1.500-5.600C6.600 6.400 7 2.700 9 2.200z"
      />
      <path class="mark-check" d="M11.200 16.200l3.800 3.800 7-7.200" />
    </svg>
  );
}
