//! How a command is asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Which signal asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Stop {
    /// What shells report for a command that the signal ended.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Ctrl-C and SIGTERM, from the moment this is made.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Option<Signal>,
}

impl Interrupts {
    pub(crate) fn watch() -> Self {
        Self { terminate: Some(watched(SignalKind::terminate())), ..Self::watch_ctrl_c() }
    }

    /// Ctrl-C alone; SIGTERM ends the process as usual.
    pub(crate) fn watch_ctrl_c() -> Self {
        Self { interrupt: watched(SignalKind::interrupt()), terminate: None }
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Stop {
        let Some(terminate) = &mut self.terminate else {
            self.interrupt.recv().await;
            return Stop::Interrupt;
        };
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = terminate.recv() => Stop::Terminate,
        }
    }
}

fn watched(kind: SignalKind) -> Signal {
    signal(kind).expect("signals can be watched")
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() {
    Interrupts::watch().next().await;
}
