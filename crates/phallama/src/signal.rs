//! How a long-running command is asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C and SIGTERM, from the moment this is made.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub(crate) fn watch() -> Self {
        let watched = |kind| signal(kind).expect("signals can be watched");
        Self {
            interrupt: watched(SignalKind::interrupt()),
            terminate: watched(SignalKind::terminate()),
        }
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() {
    Interrupts::watch().next().await;
}
