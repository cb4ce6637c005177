//! Noticing that the chain was reorganised.

use std::collections::VecDeque;

use crate::Chain;
use crate::at::AtBlock;
use crate::error::ChainError;
use crate::record::{BlockTag, Head};

/// The heads that were seen, oldest first, to hold the chain against them later.
///
/// Every head names its parent, so as long as heads follow one another nothing else is asked. Where
/// blocks were missed, the newest seen head is looked up by its number.
#[derive(Clone, Debug)]
pub struct HeadTrail {
    seen: VecDeque<Head>,
    capacity: usize,
}

/// What became of the chain since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advance {
    /// The head is the one that was seen last.
    Same,
    /// The head is below the one that was seen last, and nothing seen up to it is gone: an endpoint
    /// is behind, or what was seen above it is no block.
    Behind(Head),
    /// The head is new, and what was seen before is still below it.
    Extended(Head),
    /// Blocks that were seen are no longer part of the chain.
    Reorganised {
        /// The head now.
        head: Head,
        /// The newest block that was seen and is gone.
        lost: Head,
        /// The newest block that was seen and is still there; `None` when all that the trail
        /// remembers is gone.
        common: Option<Head>,
    },
}

impl HeadTrail {
    /// Remembers this many heads, at least one: as deep as a reorganisation can be located.
    pub fn new(capacity: usize) -> Self {
        Self { seen: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// The head that was seen last.
    pub fn last(&self) -> Option<&Head> {
        self.seen.back()
    }

    /// Reads the head and holds the chain against what was seen.
    ///
    /// # Errors
    /// As [`Chain::at`]; the trail is then as before.
    pub async fn advance(&mut self, chain: &Chain) -> Result<Advance, ChainError> {
        let at = chain.at(BlockTag::Latest).await?;
        let head = *at.head();
        let Some(last) = self.seen.back().copied() else {
            self.remember(head);
            return Ok(Advance::Extended(head));
        };
        if head.hash == last.hash {
            return Ok(Advance::Same);
        }
        // A head below the last one says nothing about what was seen above it: an endpoint that is
        // a block behind is no reorganisation.
        let comparable = self.seen.partition_point(|seen| seen.number <= head.number);
        let kept = if head.parent == last.hash {
            self.seen.len()
        } else {
            self.kept(&at, comparable).await?
        };
        if kept == comparable && comparable < self.seen.len() {
            return Ok(Advance::Behind(head));
        }
        let common = kept.checked_sub(1).map(|index| self.seen[index]);
        let reorganised = kept < self.seen.len();
        self.seen.truncate(kept);
        self.remember(head);
        Ok(if reorganised {
            Advance::Reorganised { head, lost: last, common }
        } else {
            Advance::Extended(head)
        })
    }

    /// How many of the first `comparable` seen heads are still part of the chain. If one is, all
    /// before it are. The newest first, because it nearly always is; then by bisection.
    async fn kept(&self, at: &AtBlock, comparable: usize) -> Result<usize, ChainError> {
        let (mut kept, mut gone_from) = (0, comparable);
        let mut probe = comparable.saturating_sub(1);
        while kept < gone_from {
            let seen = self.seen[probe];
            if at.block(seen.number).await?.is_some_and(|block| block.hash == seen.hash) {
                kept = probe + 1;
            } else {
                gone_from = probe;
            }
            probe = kept + (gone_from - kept) / 2;
        }
        Ok(kept)
    }

    fn remember(&mut self, head: Head) {
        if self.seen.len() == self.capacity {
            self.seen.pop_front();
        }
        self.seen.push_back(head);
    }
}
