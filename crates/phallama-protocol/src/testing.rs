//! A deterministic generator for tests: output block *i* is
//! `SHA-256("phallama test rng" ‖ 0 ‖ label ‖ 0 ‖ i as u64)`.

use std::convert::Infallible;

use crate::rand_core::{TryCryptoRng, TryRng};

pub(crate) struct Seeded {
    label: String,
    block: u64,
    ready: Vec<u8>,
}

impl Seeded {
    pub(crate) fn new(label: &str) -> Self {
        Self { label: label.to_owned(), block: 0, ready: Vec::new() }
    }
}

impl TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        while self.ready.len() < out.len() {
            let label = self.label.as_bytes();
            let block = [label, &[0], &self.block.to_be_bytes()[..]];
            self.ready.extend(crate::hash::tagged("phallama test rng", &block));
            self.block += 1;
        }
        let rest = self.ready.split_off(out.len());
        out.copy_from_slice(&self.ready);
        self.ready = rest;
        Ok(())
    }
}

impl TryCryptoRng for Seeded {}
