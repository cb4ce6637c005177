//! The keystore's password, asked for each time something moves money or changes limits.
//!
//! The server holds the unlocked key for inference. The password shows that it is the user who
//! asks, and not another program that opened the page.

use std::path::Path;
use std::time::{Duration, Instant};

use phallama_client::{ClientError, Keystore, KeystoreError};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::fault::Fault;

/// Wrong passwords in a row that cost nothing but their time.
const FREE_ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_mins(1);

/// One password is checked at a time; after [`FREE_ATTEMPTS`] wrong ones, one in a [`PAUSE`].
#[derive(Default)]
pub(super) struct Passwords {
    wrong: Mutex<Wrong>,
}

#[derive(Clone, Copy, Default)]
struct Wrong {
    in_a_row: u32,
    last: Option<Instant>,
}

impl Wrong {
    /// How long to wait before the next attempt.
    fn pause(&self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.last?);
        (self.in_a_row >= FREE_ATTEMPTS).then(|| PAUSE.checked_sub(since)).flatten()
    }
}

impl Passwords {
    pub(super) async fn check(
        &self,
        keystore: &Path,
        password: Zeroizing<String>,
    ) -> Result<(), Fault> {
        let mut wrong = self.wrong.lock().await;
        if let Some(pause) = wrong.pause(Instant::now()) {
            let message = "Too many wrong passwords. Nothing was done; wait and try again.";
            return Err(Fault::wait("wrong_password", message, pause.as_secs() + 1));
        }
        // As it is on disk: the password may have been changed since the start.
        let path = keystore.to_owned();
        let unlocked = tokio::task::spawn_blocking(move || {
            Keystore::open(&path).and_then(|keystore| keystore.unlock(&password)).map(drop)
        });
        match unlocked.await.expect("scrypt does not panic") {
            Ok(()) => {
                *wrong = Wrong::default();
                Ok(())
            }
            Err(KeystoreError::WrongPassword { .. }) => {
                *wrong = Wrong { in_a_row: wrong.in_a_row + 1, last: Some(Instant::now()) };
                Err(Fault::field("password", "This is not the keystore's password."))
            }
            Err(error) => Err(ClientError::from(error).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_gets_slow_and_stays_possible() {
        let now = Instant::now();
        let wrong = |in_a_row| Wrong { in_a_row, last: Some(now) };
        assert_eq!(Wrong::default().pause(now), None);
        assert_eq!(wrong(FREE_ATTEMPTS - 1).pause(now), None);
        assert_eq!(wrong(FREE_ATTEMPTS).pause(now), Some(PAUSE));
        assert_eq!(wrong(FREE_ATTEMPTS).pause(now + PAUSE / 2), Some(PAUSE / 2));
        assert_eq!(wrong(FREE_ATTEMPTS).pause(now + PAUSE + Duration::from_secs(1)), None);
    }
}
