//! Memory that the workers of one machine share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::slots::SlotTable;
use crate::{EngineError, GgufModel};

/// What a worker takes beside weights and cache: its code, batches and their results.
const OVERHEAD_BYTES: u64 = 128 << 20;
/// How long a model that was asked to leave may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(30);
/// Advice to whoever finds all memory in use.
const RETRY_AFTER_MS: u64 = 2_000;

/// A budget for weights and caches. Clones share it.
///
/// A model that is to be loaded and does not fit makes the model leave that was asked least
/// recently, among those that nobody is asking. When all are busy it waits for another request.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    budget_bytes: Option<u64>,
    seated: Mutex<Vec<Arc<Tenant>>>,
    /// Uses so far; orders them.
    uses: AtomicU64,
    changed: Notify,
}

/// One model with its claim to memory.
#[derive(Debug)]
pub(crate) struct Tenant {
    needs_bytes: AtomicU64,
    last_use: AtomicU64,
    slots: Arc<SlotTable>,
    /// It was asked to leave and has not answered.
    leaving: AtomicBool,
    asked_to_leave: Notify,
    memory: Memory,
}

/// The right to have a worker in memory; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Tenant>);

enum Room {
    Free,
    /// Free once this one has left.
    After(Arc<Tenant>),
    None,
}

impl Memory {
    /// Without `budget_bytes` everything fits.
    pub fn new(budget_bytes: Option<u64>) -> Self {
        let seated = Mutex::default();
        let uses = AtomicU64::new(0);
        Self(Arc::new(Shared { budget_bytes, seated, uses, changed: Notify::new() }))
    }

    /// Nine tenths of the machine's memory, or no limit where the system does not say how much it
    /// has.
    pub fn of_this_machine() -> Self {
        Self::new(total_bytes().map(|total| total / 10 * 9))
    }

    /// Bytes that workers are taken to use.
    pub fn used_bytes(&self) -> u64 {
        self.seated().iter().map(|tenant| tenant.needs()).sum()
    }

    fn seated(&self) -> MutexGuard<'_, Vec<Arc<Tenant>>> {
        self.0.seated.lock().expect("no code panics while it holds the seats")
    }

    /// Takes a seat if there is room, or names who must leave first.
    fn sit(&self, newcomer: &Arc<Tenant>) -> Room {
        let mut seated = self.seated();
        let used: u64 = seated.iter().map(|tenant| tenant.needs()).sum();
        let fits = |budget: u64| used.saturating_add(newcomer.needs()) <= budget;
        if self.0.budget_bytes.is_none_or(fits) {
            seated.push(Arc::clone(newcomer));
            return Room::Free;
        }
        let leaving = seated.iter().find(|tenant| tenant.leaving.load(Ordering::SeqCst));
        let idle = || {
            let idle = seated.iter().filter(|tenant| tenant.is_idle());
            idle.min_by_key(|tenant| tenant.last_use.load(Ordering::SeqCst))
        };
        leaving.or_else(idle).map_or(Room::None, |tenant| Room::After(Arc::clone(tenant)))
    }
}

/// The machine's memory, bytes (proc_meminfo(5)).
fn total_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

impl Tenant {
    pub(crate) fn new(memory: Memory, slots: Arc<SlotTable>) -> Arc<Self> {
        Arc::new(Self {
            needs_bytes: AtomicU64::new(0),
            last_use: AtomicU64::new(0),
            slots,
            leaving: AtomicBool::new(false),
            asked_to_leave: Notify::new(),
            memory,
        })
    }

    /// Notes what the checked `model` of `file_bytes` takes with a cache of `cache_tokens`.
    ///
    /// # Errors
    /// [`EngineError::ModelTooLarge`] when it would not fit if it were alone.
    pub(crate) fn measure(
        &self,
        model: &GgufModel,
        file_bytes: u64,
        cache_tokens: u64,
    ) -> Result<(), EngineError> {
        let needs_bytes = model
            .cache_bytes_per_token
            .saturating_mul(cache_tokens)
            .saturating_add(file_bytes)
            .saturating_add(OVERHEAD_BYTES);
        self.needs_bytes.store(needs_bytes, Ordering::SeqCst);
        match self.memory.0.budget_bytes {
            Some(budget_bytes) if needs_bytes > budget_bytes => {
                Err(EngineError::ModelTooLarge { needs_bytes, budget_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Waits for room, and has idle models leave for it.
    ///
    /// # Errors
    /// [`EngineError::NoMemory`] when only busy ones are left.
    pub(crate) async fn enter(self: &Arc<Self>) -> Result<Seat, EngineError> {
        loop {
            let changed = self.memory.0.changed.notified();
            match self.memory.sit(self) {
                Room::Free => return Ok(Seat(Arc::clone(self))),
                Room::After(other) => other.ask_to_leave(),
                Room::None => return Err(self.no_memory()),
            }
            if tokio::time::timeout(LEAVE_WITHIN, changed).await.is_err() {
                return Err(self.no_memory());
            }
        }
    }

    fn no_memory(&self) -> EngineError {
        let needs_bytes = self.needs();
        let used_bytes = self.memory.used_bytes();
        let budget_bytes = self.memory.0.budget_bytes.unwrap_or(u64::MAX);
        let retry_after_ms = RETRY_AFTER_MS;
        EngineError::NoMemory { needs_bytes, used_bytes, budget_bytes, retry_after_ms }
    }

    /// What its worker is taken to use, bytes.
    pub(crate) fn needs(&self) -> u64 {
        self.needs_bytes.load(Ordering::SeqCst)
    }

    /// Somebody asks this model.
    pub(crate) fn touch(&self) {
        let use_number = self.memory.0.uses.fetch_add(1, Ordering::SeqCst) + 1;
        self.last_use.store(use_number, Ordering::SeqCst);
    }

    fn is_idle(&self) -> bool {
        self.slots.in_flight() == 0
    }

    fn ask_to_leave(&self) {
        if !self.leaving.swap(true, Ordering::SeqCst) {
            self.asked_to_leave.notify_one();
        }
    }

    /// Returns when another model needs the room.
    pub(crate) async fn must_leave(&self) {
        while !self.leaving.load(Ordering::SeqCst) {
            self.asked_to_leave.notified().await;
        }
    }

    /// Answers the wish that it leave: it has gone, or somebody asked it meanwhile.
    pub(crate) fn answered(&self) {
        self.leaving.store(false, Ordering::SeqCst);
        self.memory.0.changed.notify_waiters();
    }

    /// Whether it is sure that nobody asks it. The worker must have been announced as leaving
    /// before: whoever took a slot earlier is seen here, whoever takes one later sees that.
    pub(crate) fn may_leave(&self) -> bool {
        self.is_idle()
    }

    /// Returns when nobody has asked for `keep_alive`.
    pub(crate) async fn unused_for(&self, keep_alive: Duration) {
        loop {
            self.slots.idle().await;
            let before = self.last_use.load(Ordering::SeqCst);
            tokio::time::sleep(keep_alive).await;
            if self.is_idle() && self.last_use.load(Ordering::SeqCst) == before {
                return;
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let tenant = &self.0;
        tenant.memory.seated().retain(|seated| !Arc::ptr_eq(seated, tenant));
        tenant.answered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNE: crate::Account = [1; 20];

    fn tenant(memory: &Memory, needs_bytes: u64) -> Arc<Tenant> {
        let tenant = Tenant::new(memory.clone(), SlotTable::new(1, 1));
        tenant.needs_bytes.store(needs_bytes, Ordering::SeqCst);
        tenant
    }

    fn needed(error: &EngineError) -> (u64, u64, u64) {
        match error {
            EngineError::NoMemory { needs_bytes, used_bytes, budget_bytes, .. } => {
                (*needs_bytes, *used_bytes, *budget_bytes)
            }
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn what_fits_sits_and_what_has_left_makes_room() {
        let memory = Memory::new(Some(100));
        let (a, b, c) = (tenant(&memory, 60), tenant(&memory, 40), tenant(&memory, 1));
        let seat = a.enter().await.unwrap();
        let _other = b.enter().await.unwrap();
        assert_eq!(memory.used_bytes(), 100);
        let _busy = (
            a.slots.acquire(ANNE, Vec::new()).await.unwrap(),
            b.slots.acquire(ANNE, Vec::new()).await.unwrap(),
        );
        assert_eq!(needed(&c.enter().await.unwrap_err()), (1, 100, 100));
        drop(seat);
        c.enter().await.unwrap();
    }

    #[tokio::test]
    async fn the_idle_model_that_was_asked_least_recently_leaves() {
        let memory = Memory::new(Some(100));
        let [a, b, c, d] = [50, 25, 25, 20].map(|needs| tenant(&memory, needs));
        for tenant in [&a, &b, &c] {
            tenant.touch();
        }
        let seats = [a.enter().await.unwrap(), b.enter().await.unwrap(), c.enter().await.unwrap()];
        a.touch();
        let _busy = b.slots.acquire(ANNE, Vec::new()).await.unwrap();
        let entering = tokio::spawn({
            let d = Arc::clone(&d);
            async move { d.enter().await }
        });
        c.must_leave().await;
        assert!(!a.leaving.load(Ordering::SeqCst) && !b.leaving.load(Ordering::SeqCst));
        let [_a, _b, third] = seats;
        drop(third);
        let _seat = entering.await.unwrap().unwrap();
        assert_eq!(memory.used_bytes(), 95);
    }

    #[tokio::test]
    async fn a_model_that_is_asked_before_it_has_left_stays() {
        let memory = Memory::new(Some(50));
        let (a, b) = (tenant(&memory, 50), tenant(&memory, 50));
        let _seat = a.enter().await.unwrap();
        let entering = tokio::spawn({
            let b = Arc::clone(&b);
            async move { b.enter().await }
        });
        a.must_leave().await;
        let _busy = a.slots.acquire(ANNE, Vec::new()).await.unwrap();
        assert!(!a.may_leave());
        a.answered();
        assert_eq!(needed(&entering.await.unwrap().unwrap_err()), (50, 50, 50));
    }

    #[test]
    fn a_model_that_could_never_fit_is_refused_with_both_sizes() {
        let memory = Memory::new(Some(OVERHEAD_BYTES + 1_000));
        let model = GgufModel {
            architecture: "llama".to_owned(),
            layers: 1,
            context_tokens: 64,
            vocabulary_tokens: 7,
            cache_bytes_per_token: 10,
        };
        let tenant = tenant(&memory, 0);
        tenant.measure(&model, 500, 50).unwrap();
        assert_eq!(tenant.needs(), OVERHEAD_BYTES + 1_000);
        let error = tenant.measure(&model, 501, 50).unwrap_err();
        let EngineError::ModelTooLarge { needs_bytes, budget_bytes } = error else {
            panic!("{error}")
        };
        assert_eq!(needs_bytes, budget_bytes + 1);
    }

    #[test]
    fn the_machine_says_how_much_it_has() {
        assert!(total_bytes().is_some_and(|total| total > 64 << 20));
    }
}
